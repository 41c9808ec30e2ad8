"""``dfl list``."""

from importlib import import_module
from typing import Any

from dfl.cli.console import show
from dfl.cli.document import publish
from dfl.cli.summaries import summary
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


def list_command(family: str | None) -> None:
    """Print the names of a family with one line on each, or of all families.

    Args:
        family: one of them, or None for an overview.
    """
    if family is None:
        rows = [(one, str(len(_table(one))), ", ".join(_table(one))) for one in _TABLES]
        suites = [name for name, _ in _suites()]
        rows.append(("suites", str(len(suites)), ", ".join(suites)))
        note = "dfl list FAMILY says what each name is; dfl explain CONFIG what goes together."
        show(Table("Families", ("family", "names", ""), rows, note, words=3))
        publish({one: names.split(", ") for one, _, names in rows})
        return
    columns = ("name", "what it is")
    if family == "suites":
        listed = {"suites": _suites()}
    else:
        registry = _table(family)
        listed = {family: [(name, summary(registry, name)) for name in registry]}
    if family == "methods":
        listed["configurations"] = _configurations()
    for title, names in listed.items():
        show(Table(title, columns, names, words=2))
        publish({title: dict(names)})


def _table(family: str) -> Registry[Any]:
    module, table = _TABLES[family]
    registry: Registry[Any] = getattr(import_module(module), table)
    return registry


def _configurations() -> list[tuple[str, str]]:
    """Return the configurations that ship: each runs by its name, and its file says what it is."""
    # Heavier than a registry, and only this family needs it.
    from dfl.config import shipped_names, shipped_summary

    return [(name, shipped_summary(name)) for name in shipped_names()]


def _suites() -> list[tuple[str, str]]:
    """Return the suites that ship, each with what its file says it is."""
    from dfl.config import suite_names, suite_summary  # as heavy as configurations

    return [(name, suite_summary(name)) for name in suite_names()]
