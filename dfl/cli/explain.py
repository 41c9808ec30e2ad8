"""``dfl explain``."""

from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.tree import Tree

from dfl.cli.changes import Changes
from dfl.cli.console import literal, results
from dfl.config import Study, read_study
from dfl.config.assembly import describe
from dfl.config.options import METHOD
from dfl.losses import AbstractDecisionLoss
from dfl.methods import AbstractNetworkMethod, Grounded

__all__ = ["explain_command"]

_UNFIT = 2


def explain_command(source: str, changes: Changes) -> None:
    """Print what a configuration puts together; exits with 2 if parts do not fit.

    Args:
        source: configuration.
        changes: what the options change in it.

    Raises:
        Exit: with code 2, if parts do not fit.
        DflError: if the configuration cannot be put together.
    """
    study = read_study(changes.load(source))
    checks = study.checks()
    tree = Tree(literal(study.name, "bold"))
    _grow(tree, "data", study.config["data"], {})
    method = describe(study.method, METHOD, "method")
    _grow(tree, "method", method, _origins(study) | _idle(study.method), "method")
    tree.add(literal(f"needs: {_needs(study)}"))
    for key in ("solver", "evaluation", "budgets", "seed", "device"):
        _grow(tree, key, study.config[key], {})
    fits = tree.add(literal("do the parts fit?", "bold"))
    for one in checks:
        verdict = "yes" if one.problem is None else f"NO: {one.problem}"
        fits.add(literal(f"{one.where}: {one.promise}: {verdict}"))
    results().print(tree)
    if any(one.problem is not None for one in checks):
        raise typer.Exit(_UNFIT)


def _needs(study: Study) -> str:
    """Say which rows the method trains on."""
    parts = {"rct": "randomised", "obs": "observational"}
    needs = " and ".join(parts[part] for part in study.method.uses) + " training rows"
    method = study.method
    if isinstance(method, Grounded):
        if "rct" not in method.uses:
            needs += "; randomised training or validation rows, to correct by"
        method = method.base
    if isinstance(method, AbstractNetworkMethod) and len(method.training.weight_decay) > 1:
        needs += "; randomised validation rows, to choose among weight_decay values and epochs"
    return needs + "; randomised test rows"


def _origins(study: Study) -> dict[str, str]:
    """Return path to a note on the section that it was taken from."""
    taken = study.taken.items()
    return {path: f"from section {section}" for section, paths in taken for path in paths}


def _idle(method: object, path: str = "method") -> dict[str, str]:
    """Return path to a note on why an option of the training changes nothing."""
    notes = {}
    if (base := getattr(method, "base", None)) is not None:
        notes = _idle(base, f"{path}.base")
    loss = getattr(method, "loss", None)
    if isinstance(loss, AbstractDecisionLoss):
        if not loss.uses_budget:
            notes[f"{path}.budgets"] = "without effect: the loss uses no budget"
        if not loss.decides_at_price:
            notes[f"{path}.price"] = "without effect: the loss asks for no price to be found"
    return notes


def _grow(tree: Tree, key: str, value: object, notes: Mapping[str, str], path: str = "") -> None:
    """Add a branch per part and a leaf per option."""
    note = f"   ({notes[path]})" if path in notes else ""
    if isinstance(value, Mapping):
        options: dict[str, Any] = dict(value)
        name = options.pop("name", None)
        branch = tree.add(literal(f"{key}: {name}{note}" if name else f"{key}{note}"))
        for option, inner in options.items():
            _grow(branch, option, inner, notes, f"{path}.{option}")
    else:
        tree.add(literal(f"{key}: {_leaf(value)}{note}"))


def _leaf(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={inner}" for key, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_leaf(one) for one in value) or "none"
    return "null" if value is None else str(value)
