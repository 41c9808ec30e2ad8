"""Solvers: a problem in, a hard and feasible allocation out."""

if __name__ != "dfl.solvers":
    raise ImportError(
        "import dfl.solvers, not solvers: the root folder 'solvers' is a signpost to dfl/solvers."
    )

from importlib import import_module
from typing import TYPE_CHECKING

from dfl.budget_path import HullSteps
from dfl.registry import Registry
from dfl.solvers.base import AbstractSolver
from dfl.solvers.decide import decide
from dfl.solvers.dual_bisection import DualBisection
from dfl.solvers.greedy_dual import GreedyDual
from dfl.solvers.hull import hull_steps
from dfl.solvers.match_intervals import match_intervals
from dfl.solvers.passes import cheapest

if TYPE_CHECKING:
    from dfl.solvers.dual_ascent import DualAscent
    from dfl.solvers.dual_prices import DualPrices, PricedAllocation
    from dfl.solvers.linear_program import LinearProgram
    from dfl.solvers.mixed_integer import MixedInteger

__all__ = [
    "SOLVERS",
    "AbstractSolver",
    "DualAscent",
    "DualBisection",
    "DualPrices",
    "GreedyDual",
    "HullSteps",
    "LinearProgram",
    "MixedInteger",
    "PricedAllocation",
    "cheapest",
    "decide",
    "hull_steps",
    "match_intervals",
]

SOLVERS: Registry[AbstractSolver] = Registry(
    "solvers",
    AbstractSolver,  # type: ignore[type-abstract]  # the interface itself, never instantiated
    {
        "dual-ascent": "dfl.solvers.dual_ascent:DualAscent",
        "dual-bisection": "dfl.solvers.dual_bisection:DualBisection",
        "greedy-dual": "dfl.solvers.greedy_dual:GreedyDual",
        "linear-program": "dfl.solvers.linear_program:LinearProgram",
        "mixed-integer": "dfl.solvers.mixed_integer:MixedInteger",
    },
)

_NEEDS_SCIPY = {  # imported on first use, so that importing dfl stays quick
    "DualAscent": "dual_ascent",
    "DualPrices": "dual_prices",
    "LinearProgram": "linear_program",
    "MixedInteger": "mixed_integer",
    "PricedAllocation": "dual_prices",
}


def __getattr__(name: str) -> object:
    """Import a class that needs SciPy when it is asked for."""
    if name not in _NEEDS_SCIPY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"dfl.solvers.{_NEEDS_SCIPY[name]}"), name)
