"""Regularised choices: soft optima over the simplex and their derivatives."""

__all__: list[str] = []
