"""Interface of the solvers."""

from abc import ABC, abstractmethod

from dfl.problem import Allocation, AllocationProblem

__all__ = ["AbstractSolver"]


class AbstractSolver(ABC):
    """Turns a problem into a hard, feasible allocation. No gradients.

    Members are frozen dataclasses without hidden state: the same problem always gives the
    same allocation. Inputs are never changed. Results lie on the problem's device.
    """

    @abstractmethod
    def solve(self, problem: AllocationProblem) -> Allocation:
        """Return a choice for everyone whose cost is within the budget.

        Args:
            problem: a checked problem; N = 0 and M = 1 are allowed.

        Returns:
            A feasible `Allocation`, its multiplier and its upper bound.

        Raises:
            UnsupportedProblemError: if the problem has a feature this solver does not
                handle (several budgets, observed costs, ...); says which solver does.
            InfeasibleBudgetError: if the budget is met by observed costs and no choice the
                solver considers meets it.
        """
