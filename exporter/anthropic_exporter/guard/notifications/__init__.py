"""Alerts, callbacks and notification channels."""
