"""Straight-through: hard decisions whose gradient passes unchanged, or in units of the scores."""

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import InvalidValueError
from dfl.layers import StraightThrough, StraightThroughDecision
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
    soft = StraightThrough(temperature=0.5, scale=scale)(revenue, cost, 10.0)  # type: ignore[arg-type]
    slope = draw(30, 4, seed=5)
    by_revenue, by_cost = torch.autograd.grad(soft.shares, (revenue, cost), slope)
    scores = (revenue - soft.multiplier * cost).detach()
    spread = (scores - scores.mean(dim=1, keepdim=True)).square().mean().sqrt()
    tau = 0.5 * (spread if scale == "relative" else 1)
    assert_close(by_revenue, (slope - slope.mean(dim=1, keepdim=True)) / tau)
    assert_close(by_cost, -soft.multiplier * by_revenue)


def test_options_are_checked() -> None:
    with pytest.raises(InvalidValueError, match="temperature must be > 0 and finite, got -1"):
        StraightThrough(temperature=-1)
    with pytest.raises(InvalidValueError, match="scale must be 'absolute' or 'relative'"):
        StraightThrough(scale="half")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="multiplier must be >= 0, got -1"):
        StraightThrough(multiplier=-1.0)
