"""How one column of a table becomes features; one file per way."""

__all__: list[str] = []
