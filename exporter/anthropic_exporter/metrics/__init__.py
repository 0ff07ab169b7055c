"""Stores numbers, and formats them for Prometheus."""
