"""The process behind `anthropic-exporter collect`: many publishers become one `/metrics`."""
