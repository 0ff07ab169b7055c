"""Reads history from Prometheus: samples, exact increases of counters, and the names of the series."""
