"""Stores cells that several processes share, in memory-mapped files."""
