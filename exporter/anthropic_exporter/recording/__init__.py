"""Processes a call between the capture and the cells."""
