"""What many hosts cost: processes, the queue between them, and the collector."""
