"""Solvers: a problem in, a hard and feasible allocation out."""

if __name__ != "dfl.solvers":
    raise ImportError(
        "import dfl.solvers, not solvers: the root folder 'solvers' is a signpost to dfl/solvers."
    )

from dfl.registry import Registry
from dfl.solvers.base import AbstractSolver
from dfl.solvers.decide import cheapest, decide
from dfl.solvers.dual_bisection import DualBisection
from dfl.solvers.greedy_dual import GreedyDual
from dfl.solvers.hull import HullSteps, hull_steps
from dfl.solvers.match_intervals import match_intervals

__all__ = [
    "SOLVERS",
    "AbstractSolver",
    "DualBisection",
    "GreedyDual",
    "HullSteps",
    "cheapest",
    "decide",
    "hull_steps",
    "match_intervals",
]

SOLVERS: Registry[AbstractSolver] = Registry(
    "solvers",
    AbstractSolver,  # type: ignore[type-abstract]  # the interface itself, never instantiated
    {
        "dual-bisection": "dfl.solvers.dual_bisection:DualBisection",
        "greedy-dual": "dfl.solvers.greedy_dual:GreedyDual",
    },
)
