"""``dfl list``."""

import inspect
from importlib import import_module
from typing import Any

from dfl.cli.console import show
from dfl.errors import MissingExtraError
from dfl.registry import Registry
from dfl.report import Table

__all__ = ["list_command"]

# Only the family that is asked for is imported.
_TABLES = {
    "solvers": ("dfl.solvers", "SOLVERS"),
    "layers": ("dfl.layers", "LAYERS"),
    "hypergrad": ("dfl.hypergrad", "HYPERGRADIENTS"),
    "losses": ("dfl.losses", "LOSSES"),
    "methods": ("dfl.methods", "METHODS"),
    "data": ("dfl.data", "DATASETS"),
    "abtest": ("dfl.abtest", "ESTIMATORS"),
}


def list_command(family: str) -> None:
    """Print the names of a family with one line on each."""
    module, table = _TABLES[family]
    registry: Registry[Any] = getattr(import_module(module), table)
    rows = [(name, _summary(registry, name)) for name in registry.names()]
    show(Table(family, ("name", "what it is"), rows, words=2))
    if family == "methods":
        show(Table("configurations", ("name", "what it is"), _configurations(), words=2))


def _configurations() -> list[tuple[str, str]]:
    """Return the configurations that ship: each runs by its name, and its file says what it is."""
    # Heavier than a registry, and only this family needs it.
    from dfl.config import shipped_names, shipped_summary

    return [(name, shipped_summary(name)) for name in shipped_names()]


def _summary(registry: Registry[Any], name: str) -> str:
    try:
        text = inspect.getdoc(registry.load(name)) or ""
    except MissingExtraError as error:
        return str(error)
    options = registry.entry(name).options
    preset = (
        f" With {', '.join(f'{key}={one}' for key, one in options.items())}." if options else ""
    )
    return text.partition("\n\n")[0].replace("\n", " ") + preset
