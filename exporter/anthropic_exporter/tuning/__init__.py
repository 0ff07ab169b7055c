"""What a team decides from its own history: thresholds, verdicts on alerts, what to change to pay less."""
