"""Heavy tails: Student-t regression, its errors, weights and verdicts."""

__all__: list[str] = []
