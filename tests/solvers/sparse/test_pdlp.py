"""PDLP in a process of its own: OR-tools cannot be loaded where highspy is."""

import importlib
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from dfl.errors import InfeasibleProblemError, MissingExtraError, NotConvergedError
from dfl.problem import AllocationProblem
from dfl.solvers import GreedyDual
from dfl.solvers.linear_program import LinearProgram
from dfl.solvers.sparse import pdlp
from dfl.solvers.sparse.pdlp import Pdlp
from dfl.solvers.sparse.relaxation import ScaledProgram
from tests.solvers.instances import FEATURES, constrained, largest_step, meets, problem


@pytest.fixture(scope="module")
def apart() -> Iterator[ProcessPoolExecutor]:
    """A fresh process, which has not loaded highspy."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize(("tolerance", "rel"), [(1e-9, 1e-9), (1e-6, 1e-6)])
def test_the_bound_is_the_optimum_up_to_the_tolerance(
    apart: ProcessPoolExecutor, tolerance: float, rel: float
) -> None:
    for seed in (3, 4, 5):
        random = problem(seed, rows=200, treatments=4)
        solver = LinearProgram(engine="pdlp", tolerance=tolerance)
        found = apart.submit(solver.solve, random).result()
        bound = float(GreedyDual().solve(random).upper_bound)
        assert float(found.upper_bound) >= bound * (1 - 1e-12)
        assert float(found.upper_bound) == pytest.approx(bound, rel=rel)
        assert bool(meets(random, found.choice[:, None]).all())
        assert float(found.revenue) >= bound - 2 * largest_step(random)


def test_a_loose_answer_is_made_feasible(apart: ProcessPoolExecutor) -> None:
    random = constrained(3, rows=150, treatments=4, features=FEATURES)
    found = apart.submit(LinearProgram(engine="pdlp", tolerance=1e-2).solve, random).result()
    exact = LinearProgram().solve(random)
    assert bool(meets(random, found.choice[:, None]).all())
    assert float(found.upper_bound) >= float(exact.upper_bound) * (1 - 1e-12)
    assert found.gap < 0.2


def test_constraints_that_cannot_be_met_are_refused(apart: ProcessPoolExecutor) -> None:
    cost = torch.tensor([[0.0, 1.0]]).expand(3, 2)
    crowded = AllocationProblem(cost, cost, 1.0, capacity=torch.tensor([1.0, 3.0]))
    with pytest.raises(InfeasibleProblemError, match="PDLP finds that even shares"):
        apart.submit(LinearProgram(engine="pdlp").solve, crowded).result()


def test_out_of_time_is_an_error(apart: ProcessPoolExecutor) -> None:
    hurried = LinearProgram(engine="pdlp", tolerance=1e-10, time_limit=1e-6)
    large = problem(13, rows=2000, treatments=5)
    with pytest.raises(NotConvergedError, match="PDLP stopped at time_limit = 1e-06 s"):
        apart.submit(hurried.solve, large).result()


def one_column() -> ScaledProgram:
    one = csr_array(np.ones((1, 1)))
    return ScaledProgram(np.ones(1), one, np.ones(1), one)


def test_without_or_tools_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "ortools"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ortools", None)
    with pytest.raises(MissingExtraError, match=r"needs .*ortools.*pip install 'dfl-toolkit\[ort"):
        Pdlp(1e-6, None)(one_column())


def test_a_clash_of_libraries_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def clash(name: str) -> None:
        raise ImportError("undefined symbol: setLocalOptionValue")

    monkeypatch.setattr(importlib, "import_module", clash)
    with pytest.raises(MissingExtraError, match=r"their own libhighs.*in another process.*symbol"):
        Pdlp(1e-6, None)(one_column())


def test_any_other_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """PDLP meets no numerical trouble on these problems, so the ending is made up."""
    ended = SimpleNamespace(solve_log=SimpleNamespace(termination_reason=6))
    criteria = SimpleNamespace(simple_optimality_criteria=SimpleNamespace(), time_sec_limit=None)
    program = SimpleNamespace(resize_and_initialize=lambda *_: None)
    library = SimpleNamespace(
        QuadraticProgram=lambda: program,
        primal_dual_hybrid_gradient=lambda *_: ended,
        PrimalDualHybridGradientParams=lambda: SimpleNamespace(termination_criteria=criteria),
        TerminationReason=SimpleNamespace(Name=lambda _: "TERMINATION_REASON_NUMERICAL_ERROR"),
    )
    monkeypatch.setattr(pdlp, "_load", lambda _: library)
    with pytest.raises(NotConvergedError, match="PDLP ended with TERMINATION_REASON_NUMERICAL_ER"):
        Pdlp(1e-6, 5.0)(one_column())
    assert criteria.time_sec_limit == 5.0
