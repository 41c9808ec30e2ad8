"""Fenchel-Young losses over any argmax, and against logged treatments."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.errors import DTypeError, InvalidValueError, ShapeError
from dfl.layers import (
    PerturbedDecision,
    Price,
    Softness,
    expected_choice,
    expected_maximum,
    one_hot_argmax,
)
from dfl.losses import FenchelYoung, LoggedBatch, fenchel_young

NOISES = ["gumbel", "normal"]


def draw(*shape: int, seed: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_gumbel_noise_is_the_cross_entropy() -> None:
    values, labels = draw(20, 5), torch.arange(20) % 5
    target = torch.nn.functional.one_hot(labels, 5).double()
    loss = fenchel_young(values, target, partial(expected_maximum, noise="gumbel"))
    assert_close(loss, torch.nn.functional.cross_entropy(values, labels, reduction="none"))


@pytest.mark.parametrize("noise", NOISES)
def test_its_gradient_is_the_decision_minus_the_target(noise: str) -> None:
    values, target = draw(20, 5).requires_grad_(), one_hot_argmax(draw(20, 5, seed=4))
    maximum = partial(expected_maximum, noise=noise)
    loss = fenchel_young(values, target, maximum)
    assert bool((loss > 0).all())
    (slope,) = torch.autograd.grad(loss.sum(), values)
    assert_close(slope, expected_choice(values.detach(), noise) - target)  # type: ignore[arg-type]
    assert torch.autograd.gradgradcheck(lambda v: fenchel_young(v, target[:2], maximum), values[:2])


@pytest.mark.parametrize("noise", NOISES)
def test_draws_agree_with_the_exact_loss(noise: str) -> None:
    values, target = draw(5).expand(5000, 5), one_hot_argmax(draw(5, seed=4)).expand(5000, 5)
    sampled = PerturbedDecision(one_hot_argmax, noise=noise, samples=8)  # type: ignore[arg-type]
    found = fenchel_young(values, target, sampled.maximum)
    exact = fenchel_young(values[0], target[0], partial(expected_maximum, noise=noise))
    assert abs(float(found.mean() - exact)) < 4 * float(found.std()) / 5000**0.5


@pytest.mark.parametrize("noise", NOISES)
def test_a_value_of_minus_infinity_is_left_out(noise: str) -> None:
    values = torch.tensor([0.0, 1.0, -torch.inf], requires_grad=True)
    target, maximum = torch.tensor([0.0, 1.0, 0.0]), partial(expected_maximum, noise=noise)
    loss = fenchel_young(values, target, maximum)
    assert_close(loss, fenchel_young(values[:2], target[:2], maximum))
    (slope,) = torch.autograd.grad(loss, values)
    assert bool(slope.isfinite().all())
    assert abs(float(slope[2])) < 1e-6


def test_money_of_a_tiny_unit_has_the_loss_of_any_other() -> None:
    revenue, outcome = draw(6, 3).float(), draw(6).float()
    treatment, zeros, weight = torch.arange(6) % 3, torch.zeros(6, 3), torch.ones(6)
    plain, tiny = (
        FenchelYoung(price=Price(multiplier=0.0))(
            unit * revenue, zeros, LoggedBatch(treatment, unit * outcome, zeros[:, 0], weight), 1.0
        )
        for unit in (1.0, 1e20)
    )
    assert_close(tiny / 1e20, plain)


def test_a_target_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"target must have the shape of values, \(2, 3\), got"):
        fenchel_young(draw(2, 3), draw(2, 4), partial(expected_maximum, noise="normal"))


def test_a_layer_in_place_of_its_maximum_is_refused() -> None:
    layer = PerturbedDecision(one_hot_argmax, samples=2)
    with pytest.raises(ShapeError, match=r"maximum must return \(3,\), one number per row of val"):
        fenchel_young(draw(3, 3), draw(3, 3), layer)


def lottery() -> LoggedBatch:
    """One kind of person, every logged outcome once, weighted by how often it is seen.

    Rare rewards at .10, .14, .12, propensities .6, .1, .3, no costs.
    """
    propensity, chance = torch.tensor([[0.6, 0.1, 0.3], [0.10, 0.14, 0.12]]).double()
    seen = torch.cat((propensity * chance, propensity * (1 - chance)))
    won = torch.cat((torch.ones(3), torch.zeros(3))).double()
    treatment = torch.arange(3).repeat(2)
    return LoggedBatch(treatment, won, torch.zeros_like(won), seen / propensity[treatment])


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("baseline", [0.0, 0.12, 0.5])
def test_the_minimiser_chooses_the_best_treatment_whatever_the_propensities(
    noise: str, baseline: float
) -> None:
    """For outcomes that are rare and rewards that differ little; any baseline will do."""
    batch = lottery()
    score = torch.zeros(3, dtype=torch.float64)
    loss = FenchelYoung(
        noise=noise, softness=Softness(1.0, "absolute"), price=Price(multiplier=0.0)
    )  # type: ignore[arg-type]
    zero = torch.zeros(6, 3, dtype=torch.float64)

    def of(score: Tensor) -> Tensor:
        # The person's mean prediction is the baseline; the loss sees it held constant.
        centred = score - score.mean() + baseline
        return loss(centred.expand(6, 3), zero, batch, 1.0)

    for _ in range(100):
        score = score - 2 * torch.func.grad(of)(score)
    assert score.argsort().tolist() == [0, 2, 1]


def test_it_is_the_weighted_cross_entropy_by_hand() -> None:
    """Two people, two treatments: one did better than predicted, one worse."""
    revenue = torch.tensor([[1.0, 3.0], [2.0, 0.0]], dtype=torch.float64)
    cost = torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    batch = LoggedBatch(
        torch.tensor([1, 0]),
        torch.tensor([4.0, 0.0]).double(),
        torch.tensor([2.0, 0.0]).double(),
        torch.tensor([2.0, 4.0]).double(),
    )
    values = revenue - 0.5 * cost  # (1, 2.5), (2, -.5): means 1.75, .75
    residual = torch.tensor([4 - 0.5 * 2 - 1.75, 0 - 0.75]).double()  # 1.25, -.75
    of_second = values.log_softmax(dim=1)[:, 1]  # received by the first, the other of the second
    weight = batch.weight * residual.abs()
    expected = -(weight * of_second).sum() / weight.sum()
    loss = FenchelYoung(softness=Softness(1.0, "absolute"), price=Price(multiplier=0.5))
    assert_close(loss(revenue, cost, batch, 1.0), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": "cauchy"}, "noise must be one of 'gumbel', 'normal', got 'cauchy'"),
        ({"price": Price(met_by="shares")}, r"price\.met_by must be one of 'decision'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        FenchelYoung(**options)  # type: ignore[arg-type]


def test_targets_that_are_no_finite_tensors_are_refused() -> None:
    for number in (torch.nan, torch.inf):
        target = torch.full((2, 3), number, dtype=torch.float64)
        with pytest.raises(InvalidValueError, match="target must be finite, got NaN or infinity"):
            fenchel_young(draw(2, 3), target, expected_maximum)
    with pytest.raises(DTypeError, match="target must be a tensor, got list"):
        fenchel_young(draw(1, 2), [[0.0, 1.0]], expected_maximum)  # type: ignore[arg-type]
    with pytest.raises(DTypeError, match="values must be a tensor, got list"):
        fenchel_young([[0.0, 1.0]], draw(1, 2), expected_maximum)  # type: ignore[arg-type]
