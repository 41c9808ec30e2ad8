import numpy as np
import pytest
import scipy
from scipy.optimize import OptimizeResult
from scipy.sparse import csr_array

from dfl.errors import NotConvergedError
from dfl.solvers.sparse.highs import Highs
from dfl.solvers.sparse.relaxation import ScaledProgram

# Two people; the second treatment of each earns 1 or 2 and uses 1 of the 1 there is.
PROGRAM = ScaledProgram(
    loss=np.array([0.0, -1.0, 0.0, -2.0]),
    use=csr_array(np.array([[0.0, 1.0, 0.0, 1.0]])),
    left=np.array([1.5]),
    share=csr_array(np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])),
)


def test_the_answer_is_a_vertex_with_its_slope() -> None:
    solution, slopes = Highs(1e-9, None)(PROGRAM)
    assert solution == pytest.approx([0.5, 0.5, 0.0, 1.0], abs=1e-9)
    assert slopes == pytest.approx([-1.0])


def test_simplex_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    methods: list[str] = []
    optimum = OptimizeResult(status=0, x=1, ineqlin=OptimizeResult(marginals=2))

    def failing_first(*_: object, method: str, options: dict[str, float], **__: object) -> object:
        methods.append(method)
        assert 0 < options["time_limit"] <= 5
        return optimum if len(methods) == 2 else OptimizeResult(status=4)

    monkeypatch.setattr(scipy.optimize, "linprog", failing_first)
    assert Highs(1e-9, 5.0)(PROGRAM) == (1, 2)
    assert methods == ["highs-ipm", "highs-ds"]


def test_a_failure_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """HiGHS does not fail on these problems, so the failure is made up."""
    failed = OptimizeResult(status=4, message="Numerical difficulties.")
    monkeypatch.setattr(scipy.optimize, "linprog", lambda *_, **__: failed)
    with pytest.raises(NotConvergedError, match=r"HiGHS failed.*Numerical.*Raise tolerance"):
        Highs(1e-9, None)(PROGRAM)
