"""Where rows come from: published files and tables of your own."""

__all__: list[str] = []
