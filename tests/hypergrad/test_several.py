import pytest
import torch
from torch import Tensor

from dfl.errors import InvalidValueError, ShapeError
from dfl.hypergrad import (
    HYPERGRADIENTS,
    ConjugateGradient,
    Loss,
    Parameters,
    several_hypergradients,
)
from tests.contract.test_hypergrad import SHORT
from tests.hypergrad.problems import member, network, ridge


@pytest.mark.parametrize("name", SHORT)
def test_several_outer_losses_at_once_equal_a_loop(name: str) -> None:
    method, problem = HYPERGRADIENTS.load(name)(**SHORT[name]), network()

    def size(inner: Parameters, outer: Parameters) -> Tensor:
        return (inner["0.weight"] ** 4).sum() + outer["0.bias"] ** 2

    losses: list[Loss] = [problem.outer_loss, size]
    found = several_hypergradients(method, problem.composed, losses, problem.inner, problem.outer)
    assert found.outer_value.shape == (2,)
    for index, loss in enumerate(losses):
        alone = method(problem.composed, loss, problem.inner, problem.outer)
        torch.testing.assert_close(
            member(found.outer_grad, index), alone.outer_grad, rtol=1e-8, atol=1e-11
        )


def test_a_plain_inner_loss_will_do() -> None:
    problem = ridge()
    found = several_hypergradients(
        ConjugateGradient(rtol=1e-12),
        problem.inner_loss,
        [problem.outer_loss] * 2,
        problem.inner,
        problem.outer,
    )
    for row in found.outer_grad["log_penalty"]:
        torch.testing.assert_close(row, problem.truth["log_penalty"])


def test_bad_calls_are_refused() -> None:
    problem = ridge(3)
    call = (problem.inner, problem.outer)
    with pytest.raises(InvalidValueError, match="outer_losses must hold at least one loss"):
        several_hypergradients(ConjugateGradient(), problem.composed, [], *call)
    with pytest.raises(ShapeError, match="inner_loss must return a scalar"):
        several_hypergradients(ConjugateGradient(), problem.composed, [problem.outer_loss], *call)
