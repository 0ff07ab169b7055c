"""Finds the alerts that would have fired in the past: rules and thresholds over the history of a Prometheus."""
