"""Where numbers live, and how Prometheus reads them."""
