"""What is read: rows of an experiment, contrasts of two arms, and effects."""

__all__: list[str] = []
