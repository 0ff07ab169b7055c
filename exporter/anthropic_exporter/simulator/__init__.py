"""A sample application and a fake Anthropic API: the demo's traffic and incidents, no key needed."""
