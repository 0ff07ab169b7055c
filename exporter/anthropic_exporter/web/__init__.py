"""The HTTP server, with the standard library only."""
