"""What is usual: baselines and how they are learned."""
