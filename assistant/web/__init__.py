"""Pages for other programs and people: figures for Prometheus."""
