"""Solving by prices: one multiplier per constraint, then repair."""

__all__: list[str] = []
