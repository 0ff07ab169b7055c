"""Measures and breaks processes that count together."""
