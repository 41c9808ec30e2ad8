"""The command line: ``dfl run``, ``compare``, ``allocate``, ``list``, ``explain``, ``report``."""

from dfl.cli.app import app, main

__all__ = ["app", "main"]
