"""The engine that trains networks: rows, loop, optimiser, levels, monitor."""

__all__: list[str] = []
