"""Damaged responses by the hundred thousand."""
