"""What must hold before a metric is read, and how large a test must be."""

__all__: list[str] = []
