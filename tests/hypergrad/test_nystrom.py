import pytest
import torch

from dfl.errors import DflError, InvalidValueError, NotConvergedError
from dfl.hypergrad import ComposedLoss, Exact, Nystrom, Parameters
from tests.hypergrad.problems import network, ridge
from tests.hypergrad.test_conjugate_gradient import SADDLE, distance, saddle


def test_with_full_rank_it_is_the_damped_exact_hypergradient() -> None:
    problem = ridge(3)
    call = (problem.composed, problem.outer_loss, problem.inner, problem.outer)
    truth = Exact(damping=0.1)(*call)
    found = Nystrom(rank=5, damping=0.1)(*call)
    torch.testing.assert_close(found.outer_grad, truth.outer_grad, rtol=1e-10, atol=1e-12)
    assert bool((found.diagnostics.residual < 1e-10).all())


def test_a_curvature_of_low_rank_needs_no_more() -> None:
    """Two rows of data: the Gauss-Newton matrix of 32 parameters has rank 4."""
    problem = network(2)

    def outputs(inner: Parameters, outer: Parameters) -> torch.Tensor:
        found = problem.composed.outputs(inner, outer)[0]
        return found[:, :2] * outer["0.bias"].exp()[:, None, None]

    loss = ComposedLoss(outputs, lambda found, outer: (found**2).mean((-1, -2)))
    call = (loss, problem.outer_loss, problem.inner, problem.outer)
    truth = Exact(damping=0.1, curvature="gauss-newton")(*call)
    options = {"damping": 0.1, "curvature": "gauss-newton"}
    found = Nystrom(rank=4, **options)(*call)  # type: ignore[arg-type]
    torch.testing.assert_close(found.outer_grad, truth.outer_grad, rtol=1e-8, atol=1e-10)
    short = Nystrom(rank=2, **options, on_failure="return")(*call)  # type: ignore[arg-type]
    assert bool((short.diagnostics.residual > 1e-3).all())


def test_negative_curvature_that_the_damping_does_not_outweigh_is_loud() -> None:
    with pytest.raises(NotConvergedError, match=r"curvature -1\.00e\+00 is not positive"):
        Nystrom()(saddle, distance, *SADDLE)
    found = Nystrom(on_failure="return")(saddle, distance, *SADDLE)
    assert float(found.diagnostics.curvature) == pytest.approx(-1, rel=1e-5)


def test_an_answer_worse_than_none_is_loud() -> None:
    problem = network(seed=3)
    call = (problem.composed, problem.outer_loss, problem.inner, problem.outer)
    with pytest.raises(NotConvergedError, match=r"goal 1\. Raise rank, raise damping \(now 1e-06"):
        Nystrom(rank=2, damping=1e-6, curvature="gauss-newton")(*call)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"rank": 0}, InvalidValueError, "rank must be >= 1, got 0"),
        ({"damping": 0.0}, InvalidValueError, "damping must be > 0, got 0"),
        ({"damping": -1.0}, InvalidValueError, "damping must be >= 0 and finite, got -1"),
        ({"rtol": 2.0}, InvalidValueError, r"rtol must be in \(0, 1\], got 2"),
        ({"curvature": "h"}, InvalidValueError, "curvature must be 'hessian' or"),
        ({"on_failure": "x"}, InvalidValueError, "on_failure must be 'raise' or"),
    ],
)
def test_bad_options_are_refused(
    options: dict[str, object], error: type[DflError], match: str
) -> None:
    with pytest.raises(error, match=match):
        Nystrom(**options)  # type: ignore[arg-type]
