"""The nouns that every part speaks: an allocation problem and its answer."""

from dfl.problem.allocation import Allocation, Split
from dfl.problem.amounts import BUDGET_SLACK, rounding
from dfl.problem.observed_cost import ObservedCost
from dfl.problem.problem import AllocationProblem
from dfl.problem.scenario_problem import ScenarioProblem

__all__ = [
    "BUDGET_SLACK",
    "Allocation",
    "AllocationProblem",
    "ObservedCost",
    "ScenarioProblem",
    "Split",
    "rounding",
]
