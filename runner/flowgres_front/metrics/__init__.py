"""GET /metrics: what the installation does, in the words of Prometheus."""
