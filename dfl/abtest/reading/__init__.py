"""Reading a whole experiment: many metrics, corrections, plots."""

__all__: list[str] = []
