"""Logged rows as the metrics read them: weighted, matched, ranked, drawn again."""

__all__: list[str] = []
