"""`Price` and `Softness`: what they take, refuse, and turn scores into."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import InvalidValueError
from dfl.layers import Price, Softness
from dfl.layers.pricing.options import score_scale


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"met_by": "nobody"}, "met_by must be one of 'decision', 'shares', got 'nobody'"),
        (
            {"met_by": "shares", "multiplier": 1.0},
            "multiplier must be None with met_by='shares', which finds it, got 1; leave one of",
        ),
        ({"multiplier": -1.0}, "multiplier must be >= 0, got -1"),
        ({"multiplier": float("nan")}, "multiplier must be >= 0, got nan"),
        ({"multiplier": float("inf")}, "multiplier must be >= 0 and finite, got inf"),
    ],
)
def test_prices_that_are_none_are_refused(options: Any, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        Price(**options)


@pytest.mark.parametrize(
    ("temperature", "scale", "message"),
    [
        (0.0, "relative", "temperature must be > 0, got 0"),
        (-1.0, "absolute", "temperature must be > 0, got -1"),
        (float("nan"), "relative", "temperature must be > 0, got nan"),
        (float("inf"), "relative", "temperature must be > 0 and finite, got inf"),
        (1.0, "half", "scale must be one of 'relative', 'absolute', got 'half'"),
    ],
)
def test_softness_out_of_range_is_refused(temperature: float, scale: Any, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        Softness(temperature, scale)


def test_a_fixed_price_is_every_problems() -> None:
    revenue = torch.zeros(2, 3, 4)
    assert_close(Price(multiplier=0.5).find(revenue, revenue, 1.0, None), torch.full((2,), 0.5))


@pytest.mark.parametrize("shape", [(5, 4), (2, 5, 4)])
def test_the_relative_temperature_is_in_units_of_the_scores(shape: tuple[int, ...]) -> None:
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(*shape, generator=draw, dtype=torch.float64)
    around = values - values.mean(dim=-1, keepdim=True)
    expected = 0.5 * around.square().mean(dim=(-2, -1), keepdim=True).sqrt()
    assert_close(Softness(0.5).of(values), expected)
    assert_close(Softness(0.5).of(1e3 * values + 7), 1e3 * expected)
    assert_close(Softness(0.5, "absolute").of(values), torch.full_like(expected, 0.5))


def test_the_scale_of_scores_has_no_gradient() -> None:
    assert not score_scale(torch.rand(3, 4, requires_grad=True)).requires_grad
