"""Descent steps on an inner loss: ahead of a hypergradient, or differentiated themselves."""

__all__: list[str] = []
