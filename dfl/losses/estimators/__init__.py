"""Estimates of what an allocation earns, from logged rows."""

__all__: list[str] = []
