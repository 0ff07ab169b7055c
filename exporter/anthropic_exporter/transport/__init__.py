"""Carries cells between processes: the message format, and the queues."""
