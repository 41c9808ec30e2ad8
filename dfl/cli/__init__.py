"""The command line: ``dfl run``, ``compare``, ``allocate``, ``list``, ``explain``, ``report``."""

from dfl.cli.app import app
from dfl.cli.main import main

__all__ = ["app", "main"]
