"""Solving as a sparse linear or integer programme."""

__all__: list[str] = []
