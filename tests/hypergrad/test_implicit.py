import pytest
import torch

from dfl.errors import InvalidValueError
from dfl.hypergrad import HYPERGRADIENTS, AbstractImplicit, Exact
from tests.contract.test_hypergrad import PROMISES, trained_network

NAMES = [n for n in PROMISES if issubclass(HYPERGRADIENTS.load(n), AbstractImplicit)]
SOLVED = {
    "conjugate-gradient": {"rtol": 1e-10},
    "exact": {},
    "gauss-newton": {"rtol": 1e-10},
    "neumann": {"terms": 400, "rtol": 1e-8},
    "nystrom": {"rank": 26, "rtol": 1e-8},
}


@pytest.mark.parametrize("curvature", ["hessian", "gauss-newton"])
@pytest.mark.parametrize("name", SOLVED)
def test_every_name_solves_the_system_of_either_curvature(name: str, curvature: str) -> None:
    problem, best, _ = trained_network()
    call = (problem.composed, problem.outer_loss, best, problem.outer)
    options = {"curvature": curvature, "damping": 1.0}
    found = HYPERGRADIENTS.load(name)(**options, **SOLVED[name])(*call)
    truth = Exact(**options)(*call)  # type: ignore[arg-type]
    torch.testing.assert_close(found.outer_grad, truth.outer_grad, rtol=1e-6, atol=1e-9)


def test_the_curvature_makes_a_difference() -> None:
    problem, best, _ = trained_network()
    call = (problem.composed, problem.outer_loss, best, problem.outer)
    one, other = (
        Exact(damping=1.0, curvature=kind)(*call).outer_grad["0.bias"]
        for kind in ("hessian", "gauss-newton")
    )
    assert not torch.allclose(one, other, rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"curvature": "k-fac"}, "curvature must be one of 'hessian', 'gauss-newton', got 'k-fac'"),
        ({"on_failure": "warn"}, "on_failure must be one of 'raise', 'return', got 'warn'"),
        ({"damping": -1.0}, "damping must be >= 0, got -1"),
        ({"damping": float("inf")}, "damping must be >= 0 and finite, got inf"),
        ({"rtol": float("nan")}, "rtol must be .*, got nan"),
    ],
)
def test_options_are_checked_alike(name: str, options: dict[str, object], match: str) -> None:
    with pytest.raises(InvalidValueError, match=match):
        HYPERGRADIENTS.load(name)(**options)
