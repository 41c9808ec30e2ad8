"""HiGHS, through scipy, as the engine of a relaxation."""

import math
import time
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import scipy  # its parts load on use

from dfl.errors import InfeasibleProblemError, NotConvergedError
from dfl.solvers.sparse.relaxation import ScaledProgram
from dfl.solvers.sparse.sparse_model import Floats, infeasible

__all__ = ["Highs", "out_of_time"]

_LIMIT_REACHED, _INFEASIBLE = 1, 2  # scipy's status


@final
@dataclass(frozen=True)
class Highs:
    """The interior-point method of HiGHS with crossover: its answer is a vertex.

    Where it does not end in an optimum, the simplex method decides: on these problems that is
    slower, ten times and more from a few thousand people on.

    Args:
        tolerance: of primal and dual feasibility, in 1e-10 .. 1e-2.
        time_limit: seconds, None for no limit.

    Source:
        Huangfu and Hall (2018), doi:10.1007/s12532-017-0130-5.
    """

    tolerance: float
    time_limit: float | None

    def __call__(self, program: ScaledProgram) -> tuple[Floats, Floats]:
        """Solve; see `Engine`.

        Raises:
            InfeasibleProblemError: if HiGHS proves that there is no solution.
            NotConvergedError: at the time limit, or if HiGHS fails.
        """
        end = math.inf if self.time_limit is None else time.monotonic() + self.time_limit
        result = self._run(program, "highs-ipm", self.time_limit)
        if result.status not in (0, _LIMIT_REACHED):  # the simplex method has the last word
            left = None if self.time_limit is None else max(end - time.monotonic(), 0.0)
            result = self._run(program, "highs-ds", left)
        if result.status == 0:
            return result.x, result.ineqlin.marginals
        if result.status == _INFEASIBLE:
            raise InfeasibleProblemError(
                infeasible("HiGHS proves that even shares of treatments cannot meet them")
            )
        if result.status == _LIMIT_REACHED:
            raise NotConvergedError(out_of_time("HiGHS", self.time_limit))
        raise NotConvergedError(
            f"HiGHS failed on the relaxation: {result.message} Raise tolerance, or use "
            "cutting-planes."
        )

    def _run(self, program: ScaledProgram, method: str, time_limit: float | None) -> Any:
        options: dict[str, Any] = {
            "primal_feasibility_tolerance": self.tolerance,
            "dual_feasibility_tolerance": self.tolerance,
        }
        if time_limit is not None:
            options["time_limit"] = time_limit
        solve: Any = scipy.optimize.linprog  # its types know no sparse matrix
        return solve(
            program.loss,
            A_ub=program.use,
            b_ub=program.left,
            A_eq=program.share,
            b_eq=np.ones(program.share.shape[0]),
            method=method,
            options=options,
        )


def out_of_time(engine: str, time_limit: float | None) -> str:
    """Say that an engine was stopped before it had an answer, and what to do."""
    return (
        f"{engine} stopped at time_limit = {time_limit} s without an answer; raise time_limit, "
        "or use greedy-dual (one budget) or cutting-planes, which are faster."
    )
