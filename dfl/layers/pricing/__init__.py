"""Scores at a price of money: budgets, batches, and how soft a choice is."""

__all__: list[str] = []
