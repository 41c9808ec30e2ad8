import warnings
from itertools import cycle, repeat

import pytest
import torch
from torch import Tensor

from dfl.errors import InvalidValueError
from dfl.hypergrad import (
    HYPERGRADIENTS,
    AbstractHypergradient,
    BilevelResult,
    BilevelTrainer,
    ConjugateGradient,
    NotAtOptimumWarning,
    Parameters,
    Unrolled,
)
from tests.contract.test_hypergrad import SHORT

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


@pytest.mark.parametrize("name", sorted({*SHORT} - {"gauss-newton"}))
def test_every_hypergradient_lowers_the_outer_loss(name: str) -> None:
    options = SHORT[name] | ({"curvature": "hessian"} if name == "nystrom" else {})
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
