"""Measures calls: windows, budgets, tasks, spikes."""
