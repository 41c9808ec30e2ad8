import warnings
from itertools import cycle, repeat

import pytest
import torch
from torch import Tensor

from dfl.errors import InvalidValueError, ShapeError
from dfl.hypergrad import (
    HYPERGRADIENTS,
    AbstractHypergradient,
    BilevelResult,
    BilevelTrainer,
    ConjugateGradient,
    Loss,
    NotAtOptimumWarning,
    Parameters,
    Unrolled,
    several_hypergradients,
    warn_unless_optimal,
)
from tests.contract.test_hypergrad import PROMISES
from tests.hypergrad.problems import member, network, ridge

GOAL = torch.tensor([3.0, -1.0])


def inner_loss(inner: Parameters, outer: Parameters) -> Tensor:
    """Optimum at ``a = b``."""
    return ((inner["a"] - outer["b"]) ** 2 * torch.tensor([1.0, 2.0])).sum()


def outer_loss(inner: Parameters, outer: Parameters) -> Tensor:
    return ((inner["a"] - GOAL) ** 2).sum()


def trainer(
    method: AbstractHypergradient | None = None, *, lower: float = 0.2, **options: object
) -> BilevelTrainer:
    return BilevelTrainer(
        hypergradient=method or ConjugateGradient(),
        inner_optimiser=lambda values: torch.optim.SGD(values, lr=lower),
        outer_optimiser=lambda values: torch.optim.SGD(values, lr=0.2),
        **options,  # type: ignore[arg-type]
    )


def fit(run: BilevelTrainer, steps: int) -> BilevelResult:
    start = {"a": torch.tensor([5.0, 5.0])}, {"b": torch.zeros(2)}
    return run.fit(repeat(inner_loss, steps), repeat(outer_loss), *start)


def test_it_finds_the_bilevel_optimum() -> None:
    found = fit(trainer(every=5, warn_above=None), 400)
    torch.testing.assert_close(found.outer["b"], GOAL, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.inner["a"], GOAL, rtol=1e-3, atol=1e-3)
    assert [step.step for step in found.history] == list(range(5, 401, 5))
    assert float(found.history[-1].outer_value) < 1e-4 < float(found.history[0].outer_value)
    assert found.history[0].inner_value.shape == ()
    assert not found.outer["b"].requires_grad


@pytest.mark.parametrize("name", sorted({*PROMISES} - {"gauss-newton"}))
def test_every_hypergradient_lowers_the_outer_loss(name: str) -> None:
    options = PROMISES[name].short | ({"curvature": "hessian"} if name == "nystrom" else {})
    found = fit(trainer(HYPERGRADIENTS.load(name)(**options), every=5, warn_above=None), 100)
    assert float(found.history[-1].outer_value) < 0.01 * float(found.history[0].outer_value)


def test_assumed_steps_bring_the_hypergradient_nearer_to_the_optimum() -> None:
    near, far = (
        fit(trainer(lower=1e-3, assumed_steps=steps, warn_above=None), 1).history[0].diagnostics
        for steps in (20, 0)
    )
    assert float(near.inner_gradient) < 0.1 * float(far.inner_gradient)


def test_a_cold_start_starts_anew_after_every_upper_step() -> None:
    values = [
        [float(step.inner_value) for step in fit(run, 40).history]
        for run in (
            trainer(every=2, warn_above=None),
            trainer(every=2, warm_start=False, warn_above=None),
        )
    ]
    assert values[0][-1] < 0.01 * values[1][-1]


def test_being_far_from_the_optimum_is_said_once_and_not_at_all_on_request() -> None:
    far = trainer(lower=1e-4)
    with pytest.warns(NotAtOptimumWarning, match="inner is no optimum of inner_loss") as said:
        fit(far, 5)
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(trainer(lower=1e-4, warn_above=None), 5)
        fit(trainer(Unrolled(), lower=1e-4), 5)  # needs no optimum
        fit(trainer(every=20), 20)  # solved well enough


def test_nothing_given_is_changed() -> None:
    start = {"a": torch.ones(2, requires_grad=True)}, {"b": torch.zeros(2)}
    trainer(warn_above=None).fit(repeat(inner_loss, 3), cycle([outer_loss]), *start)
    assert torch.equal(start[0]["a"], torch.ones(2))
    assert start[0]["a"].grad is None
    assert torch.equal(start[1]["b"], torch.zeros(2))


def test_outer_losses_must_last() -> None:
    start = {"a": torch.ones(2)}, {"b": torch.zeros(2)}
    with pytest.raises(InvalidValueError, match="for every upper step, got none at lower step 3"):
        trainer(warn_above=None).fit(repeat(inner_loss, 5), [outer_loss] * 2, *start)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"every": 0}, "every must be >= 1, got 0"),
        ({"assumed_steps": -1}, "assumed_steps must be >= 0, got -1"),
        ({"warn_above": -0.5}, "warn_above must be >= 0, got -0.5"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], match: str) -> None:
    with pytest.raises(InvalidValueError, match=match):
        trainer(**options)  # type: ignore[arg-type]


def test_at_the_optimum_nothing_is_said() -> None:
    problem = ridge()
    found = ConjugateGradient()(
        problem.inner_loss, problem.outer_loss, problem.inner, problem.outer
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_unless_optimal(found.diagnostics, atol=1e-10)
    assert "inner gradient of norm" in found.diagnostics.describe()


def test_elsewhere_it_is_said_on_request_alone() -> None:
    problem = network(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ConjugateGradient(max_iter=2, on_failure="return")(
            problem.composed, problem.outer_loss, problem.inner, problem.outer
        )
    with pytest.warns(NotAtOptimumWarning, match=r"norm .* above 0\.001: inner is no optimum"):
        warn_unless_optimal(found.diagnostics, atol=1e-3)


@pytest.mark.parametrize("name", PROMISES)
def test_several_outer_losses_at_once_equal_a_loop(name: str) -> None:
    method, problem = HYPERGRADIENTS.load(name)(**PROMISES[name].short), network()

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
