"""PDLP, of OR-tools, as the engine of a relaxation."""

import importlib
import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from scipy.sparse import csc_matrix, vstack

from dfl.errors import InfeasibleProblemError, MissingExtraError, NotConvergedError
from dfl.solvers.sparse.highs import out_of_time
from dfl.solvers.sparse.relaxation import ScaledProgram
from dfl.solvers.sparse.sparse_model import Floats, infeasible

__all__ = ["Pdlp"]


@final
@dataclass(frozen=True)
class Pdlp:
    """The primal-dual hybrid gradient method of OR-tools: needs no factorisation.

    Its answer meets constraints and optimum up to ``tolerance`` only, and is no vertex.

    Args:
        tolerance: relative and absolute, of both residuals and of the duality gap.
        time_limit: seconds, None for no limit.

    Source:
        Applegate et al. (2021), arXiv:2106.04756.
    """

    tolerance: float
    time_limit: float | None

    def __call__(self, program: ScaledProgram) -> tuple[Floats, Floats]:
        """Solve; see `Engine`.

        Raises:
            InfeasibleProblemError: if PDLP finds a certificate of infeasibility.
            NotConvergedError: at the time limit, or if PDLP fails.
            MissingExtraError: if OR-tools is not installed, or cannot be loaded.
        """
        pdlp, parameters, log = (_load(name) for name in _MODULES)
        options = parameters.PrimalDualHybridGradientParams()
        criteria = options.termination_criteria
        criteria.simple_optimality_criteria.eps_optimal_relative = self.tolerance
        criteria.simple_optimality_criteria.eps_optimal_absolute = self.tolerance
        if self.time_limit is not None:
            criteria.time_sec_limit = self.time_limit
        result = pdlp.primal_dual_hybrid_gradient(_quadratic_program(pdlp, program), options)
        reason = log.TerminationReason.Name(result.solve_log.termination_reason)
        if reason == "TERMINATION_REASON_OPTIMAL":
            resources = program.left.shape[0]
            return np.array(result.primal_solution), np.array(result.dual_solution)[:resources]
        if reason == "TERMINATION_REASON_PRIMAL_INFEASIBLE":
            raise InfeasibleProblemError(
                infeasible("PDLP finds that even shares of treatments cannot meet them")
            )
        if reason == "TERMINATION_REASON_TIME_LIMIT":
            raise NotConvergedError(out_of_time("PDLP", self.time_limit))
        raise NotConvergedError(
            f"PDLP ended with {reason}; raise tolerance, or use engine='highs'."
        )


_MODULES = (
    "ortools.pdlp.python.pdlp",
    "ortools.pdlp.solvers_pb2",
    "ortools.pdlp.solve_log_pb2",
)


def _load(module: str) -> Any:
    """Import a part of OR-tools, which ships no types."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"engine='pdlp' needs the package {error.name!r}, which is not installed: "
            "pip install 'dfl-toolkit[ortools]'"
        ) from error
    except ImportError as error:
        raise MissingExtraError(
            "engine='pdlp' cannot load OR-tools. Where highspy (cvxpy brings it) is imported "
            "first, both want their own libhighs and only one is loaded: solve in another "
            f"process, or use engine='highs'. The loader says: {error}"
        ) from error


def _quadratic_program(pdlp: Any, program: ScaledProgram) -> Any:
    """Write the program as PDLP takes it."""
    people, columns = program.share.shape
    stated = pdlp.QuadraticProgram()
    stated.resize_and_initialize(columns, people + program.left.shape[0])
    stated.objective_vector = program.loss
    stated.constraint_matrix = csc_matrix(vstack([program.use, program.share]))
    stated.constraint_lower_bounds = np.concatenate(
        [np.full_like(program.left, -math.inf), np.ones(people)]
    )
    stated.constraint_upper_bounds = np.concatenate([program.left, np.ones(people)])
    stated.variable_lower_bounds = np.zeros(columns)
    stated.variable_upper_bounds = np.full(columns, math.inf)
    return stated
