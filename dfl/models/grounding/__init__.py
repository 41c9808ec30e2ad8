"""Correcting the predictions of logs by what an experiment says of them."""

__all__: list[str] = []
