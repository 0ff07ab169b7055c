"""Reads the wire format: bytes of requests and responses become values. Pure."""
