"""Learns and stores baselines: what is usual."""
