"""Watch the SDK's requests: the middleware, an attempt, its stream, batch results."""
