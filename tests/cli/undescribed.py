"""Solvers that nobody described."""

from dataclasses import dataclass
from typing import final

from dfl.problem import Allocation, AllocationProblem
from dfl.solvers import AbstractSolver

__all__ = ["Record", "Silent"]


@final
class Silent(AbstractSolver):
    def solve(self, problem: AllocationProblem) -> Allocation:
        raise NotImplementedError


@final
@dataclass(frozen=True)
class Record(AbstractSolver):
    size: int = 1

    def solve(self, problem: AllocationProblem) -> Allocation:
        raise NotImplementedError
