"""What is measured of the calls: windows, budgets, tasks, spikes."""
