"""`LinearProgram`: the linear relaxation by a general solver, rounded to a whole allocation."""

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import torch

from dfl.checks import check_choice, check_number
from dfl.errors import InfeasibleProblemError, NotConvergedError
from dfl.problem import Allocation, AllocationProblem, Split
from dfl.solvers.base import AbstractSolver, require_predicted_cost
from dfl.solvers.cutting_planes import CuttingPlanes
from dfl.solvers.sparse.highs import Highs
from dfl.solvers.sparse.pdlp import Pdlp
from dfl.solvers.sparse.relaxation import Engine, relax
from dfl.solvers.sparse.rounding import WHOLE, round_whole
from dfl.solvers.sparse.sparse_model import Floats, Ints, SparseModel, sparse_model, written_out

__all__ = ["LinearProgram"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class LinearProgram(AbstractSolver):
    """Solves the linear relaxation with every constraint, then rounds, repairs and fills up.

    ``max sum_ij x_ij revenue_ij`` over shares ``x >= 0`` with ``sum_j x_ij = 1``, within all
    budgets, capacities (rounded down: people are whole) and ``min_return``.
    ``upper_bound`` is the dual value at the engine's prices, computed here in float64: the
    optimum of the relaxation with ``"highs"``, up to ``tolerance`` with ``"pdlp"``, and a
    valid bound whatever the engine's errors. ``multiplier`` holds the prices of the budgets.
    The choice meets every constraint exactly, up to rounding; where no rounding of the shares
    does, that of `CuttingPlanes` is taken, and refused if there is none. ``split`` is set where
    one budget is all that binds, by its kind, and one person is fractional.

    For truth, and for constraints that are not one budget; `GreedyDual` solves one budget
    many times faster.

    Args:
        engine: ``"highs"``, interior point to a vertex, or ``"pdlp"``, the first-order method of
            OR-tools (extra ``ortools``).
        time_limit: seconds for the engine, > 0; None for no limit.
        tolerance: of feasibility and optimality, relative to the size of the problem, in
            1e-10 .. 1e-2.

    Raises:
        InvalidValueError: if an option is outside its range.

    Source:
        Sinha and Zoltners (1979), doi:10.1287/opre.27.3.503, for the relaxation; engines as
        in `Highs` and `Pdlp`. The rounding is our own.
    """

    engine: Literal["highs", "pdlp"] = "highs"
    time_limit: float | None = None
    tolerance: float = 1e-9

    def __post_init__(self) -> None:
        """Check the options."""
        check_choice("engine", self.engine, ("highs", "pdlp"))
        check_number("tolerance", self.tolerance, at_least=1e-10, at_most=1e-2)
        if self.time_limit is not None:
            check_number("time_limit", self.time_limit, above=0, finite=False)

    @torch.no_grad()
    def solve(self, problem: AllocationProblem) -> Allocation:
        """Return the relaxation's optimum, made whole.

        Args:
            problem: any number of budgets, met by predicted costs; masks, pins, capacities
                and ``min_return`` are all taken.

        Returns:
            An `Allocation` that meets every constraint.

        Raises:
            UnsupportedProblemError: if there are observed costs.
            InfeasibleProblemError: if not even shares of treatments meet the constraints.
            NotConvergedError: at the time limit; if the engine fails; if no whole allocation
                was found near the optimum of the relaxation, though there may be one.
            MissingExtraError: if OR-tools is needed and not installed.
        """
        require_predicted_cost("linear-program", problem)
        model = sparse_model(problem)
        relaxed = relax(model, self._engine())
        taken = round_whole(model, relaxed.weight, relaxed.prices)
        taken = _by_prices(problem, model) if taken is None else taken
        if taken is None:
            raise NotConvergedError(
                "linear-program found shares of treatments that meet the constraints, but no "
                "whole allocation near them; use mixed-integer, or loosen a constraint."
            )
        split = _split(problem, model, relaxed.weight)
        return written_out(problem, model, taken, relaxed.prices, relaxed.bound, split)

    def _engine(self) -> Engine:
        chosen = Highs if self.engine == "highs" else Pdlp
        return chosen(tolerance=self.tolerance, time_limit=self.time_limit)


def _by_prices(problem: AllocationProblem, model: SparseModel) -> Ints | None:
    """Return the choice of `CuttingPlanes`, which searches where limits bind exactly, if any."""
    try:
        choice = CuttingPlanes().solve(problem).choice.cpu().numpy()
    except (InfeasibleProblemError, NotConvergedError):
        return None
    return np.flatnonzero(model.treatment == choice[model.person])


def _split(problem: AllocationProblem, model: SparseModel, weight: Floats) -> Split | None:
    """Return the fractional person where one budget is the only constraint of all."""
    between = np.flatnonzero((weight > WHOLE) & (weight < 1 - WHOLE))
    if model.left.shape != (1,) or problem.min_return is not None or between.shape != (2,):
        return None
    use = model.use_of(0)[between]
    low, high = between[np.argsort(use, kind="stable")]
    row, share = int(model.person[low]), float(weight[high])
    if model.person[high] != row:
        return None
    return Split(row, int(model.treatment[low]), int(model.treatment[high]), share)
