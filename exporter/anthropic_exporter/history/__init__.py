"""What a Prometheus remembers: samples, exact increases of counters, and the names of the series that are read."""
