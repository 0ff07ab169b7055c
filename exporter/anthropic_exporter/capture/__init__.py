"""Watches the SDK's requests: the middleware, attempts, streams, batch results."""
