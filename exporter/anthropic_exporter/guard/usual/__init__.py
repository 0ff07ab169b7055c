"""Learns and stores baselines."""
