"""The process behind `anthropic-exporter collect`: merges many publishers into one `/metrics`."""
