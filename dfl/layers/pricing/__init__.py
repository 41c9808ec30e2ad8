"""Scores at a price of money: that price, softness, problems, hard decisions with a gradient."""

__all__: list[str] = []
