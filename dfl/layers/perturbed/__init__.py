"""Choices under noise, and gradients for any argmax."""

__all__: list[str] = []
