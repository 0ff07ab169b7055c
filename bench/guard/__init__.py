"""The Guard in the process: agreement with the rules, chance, soak, cost."""
