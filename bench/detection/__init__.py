"""Seconds from an incident to its notification."""
