"""The process behind `anthropic-exporter serve`."""
