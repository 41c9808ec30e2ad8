"""Straight-through: hard decisions whose gradient passes unchanged, or in units of the scores."""

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import InvalidValueError
from dfl.layers import Price, Softness, StraightThrough, StraightThroughDecision
from tests.layers.problems import TopK


def draw(*shape: int, seed: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def test_the_gradient_passes_unchanged() -> None:
    values, slope = draw(20, 6), draw(20, 6, seed=4)
    decision, pull = torch.func.vjp(StraightThroughDecision(TopK(2)), values)
    assert_close(decision, TopK(2)(values), rtol=0, atol=0)
    assert_close(pull(slope)[0], slope, rtol=0, atol=0)


@pytest.mark.parametrize("scale", ["absolute", "relative"])
def test_the_allocation_layer_takes_the_mean_off_and_divides(scale: str) -> None:
    revenue, cost = draw(30, 4).requires_grad_(), draw(30, 4, seed=4).requires_grad_()
    soft = StraightThrough(softness=Softness(0.5, scale))(revenue, cost, 10.0)  # type: ignore[arg-type]
    slope = draw(30, 4, seed=5)
    by_revenue, by_cost = torch.autograd.grad(soft.shares, (revenue, cost), slope)
    scores = (revenue - soft.multiplier * cost).detach()
    spread = (scores - scores.mean(dim=1, keepdim=True)).square().mean().sqrt()
    tau = 0.5 * (spread if scale == "relative" else 1)
    assert_close(by_revenue, (slope - slope.mean(dim=1, keepdim=True)) / tau)
    assert_close(by_cost, -soft.multiplier * by_revenue)


def test_a_price_that_shares_would_meet_is_refused() -> None:
    """There is no such price for hard choices, nor for any layer that takes its price as given."""
    with pytest.raises(
        InvalidValueError, match=r"price\.met_by must be one of 'decision', got 'sha"
    ):
        StraightThrough(price=Price(met_by="shares"))
