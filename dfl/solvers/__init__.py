"""Solvers: a problem in, a hard and feasible allocation out."""

if __name__ != "dfl.solvers":
    raise ImportError(
        "import dfl.solvers, not solvers: the root folder 'solvers' is a signpost to dfl/solvers."
    )

from typing import TYPE_CHECKING

from dfl.budget_path import HullSteps
from dfl.registry import Registry, lazy
from dfl.solvers.base import AbstractSolver
from dfl.solvers.dual_bisection import DualBisection
from dfl.solvers.greedy_dual import GreedyDual
from dfl.solvers.passes import cheapest
from dfl.solvers.passes.decide import decide
from dfl.solvers.passes.hull import hull_steps
from dfl.solvers.passes.match_intervals import match_intervals

if TYPE_CHECKING:
    from dfl.solvers.cutting_planes import CuttingPlanes, DualAscent
    from dfl.solvers.linear_program import LinearProgram
    from dfl.solvers.mixed_integer import MixedInteger
    from dfl.solvers.prices.dual_prices import DualPrices, PricedAllocation
    from dfl.solvers.stochastic import ScenarioAllocation, Stochastic

__all__ = [
    "SOLVERS",
    "AbstractSolver",
    "CuttingPlanes",
    "DualAscent",
    "DualBisection",
    "DualPrices",
    "GreedyDual",
    "HullSteps",
    "LinearProgram",
    "MixedInteger",
    "PricedAllocation",
    "ScenarioAllocation",
    "Stochastic",
    "cheapest",
    "decide",
    "hull_steps",
    "match_intervals",
]

SOLVERS: Registry[AbstractSolver] = Registry(
    "solvers",
    AbstractSolver,  # type: ignore[type-abstract]  # the interface itself, never instantiated
    {
        "cutting-planes": "dfl.solvers.cutting_planes:CuttingPlanes",
        "dual-bisection": "dfl.solvers.dual_bisection:DualBisection",
        "greedy-dual": "dfl.solvers.greedy_dual:GreedyDual",
        "linear-program": "dfl.solvers.linear_program:LinearProgram",
        "mixed-integer": "dfl.solvers.mixed_integer:MixedInteger",
        "stochastic": "dfl.solvers.stochastic:Stochastic",
        "dual-ascent": "dfl.solvers.cutting_planes:CuttingPlanes",  # what it was called before
    },
)

# Imported on first use: SciPy would make importing dfl slow.
__getattr__ = lazy(
    __name__,
    {
        "CuttingPlanes": "cutting_planes",
        "DualAscent": "cutting_planes",
        "DualPrices": "prices.dual_prices",
        "LinearProgram": "linear_program",
        "MixedInteger": "mixed_integer",
        "PricedAllocation": "prices.dual_prices",
        "ScenarioAllocation": "stochastic",
        "Stochastic": "stochastic",
    },
)
