"""DPL and MER: golden cases, and what they refuse."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import InvalidValueError
from dfl.layers import Price, Quadratic, Softmax, Softness
from dfl.losses import LOSSES, DualPolicy, PrimalPolicy
from tests.losses.toy import three_arms, toy_a

GOLDEN = [
    ((0.5,), 1, -1.4323424, [-0.3728985, 0.0738402, 0, 0.2227649], -0.1790428),
    ((0.5,), 0.1, -2.0418365, [-2.2371968, 0.2103111, 0, 0.9449423], -0.2552296),
    ((0.1, 0.5, 1), 1, -4.1912537, [-1.0930133, 0.2155368, 0.0340019, 0.6536291], -0.5239067),
    ((0.1,), 5, -2.0504603, [-0.0949657, 0.0189740, -0.0320000, 0.0569854], -0.2563075),
]


@pytest.mark.parametrize("kind", ["dual-policy", "maximum-entropy"])
@pytest.mark.parametrize(("prices", "temperature", "summed", "gradient", "unweighted"), GOLDEN)
def test_golden_cases(
    kind: str,
    prices: tuple[float, ...],
    temperature: float,
    summed: float,
    gradient: list[float],
    unweighted: float,
) -> None:
    """G4: the papers sum over people and prices where we average."""
    options: Any = {"multipliers": prices, "estimator": "horvitz-thompson"}
    if kind == "dual-policy":
        layer = Softmax(softness=Softness(temperature, "absolute"))
        loss: Any = DualPolicy(layer=layer, **options)
    else:
        layer = Softmax(softness=Softness(temperature, "absolute"), price=Price(multiplier=0.0))
        loss = LOSSES.make("maximum-entropy", layer=layer, **options)
    revenue, cost, batch = toy_a()
    found = loss(revenue, cost, batch, 1.0) * 4 * len(prices)
    assert_close(found.item(), summed, atol=1e-6, rtol=0)
    by_revenue, by_cost = torch.autograd.grad(found, (revenue, cost))
    column = torch.tensor(gradient, dtype=torch.float64)
    assert_close(by_revenue, torch.stack((-column, column), dim=1), atol=1e-6, rtol=0)
    if len(prices) == 1:
        assert_close(by_cost, -prices[0] * by_revenue)
    revenue, cost, batch = toy_a(weight=1)
    plain = loss(revenue, cost, batch, 1.0) * len(prices)
    assert_close(plain.item(), unweighted, atol=1e-6, rtol=0)


def test_the_layer_decides_at_no_cost_whatever_its_own_multiplier() -> None:
    revenue, cost, batch = three_arms()
    losses = [
        DualPolicy(layer=Quadratic(), multipliers=(0.4,))(revenue, cost, batch, budget)
        for budget in (1e-3, 1e9)
    ]
    assert_close(losses[0], losses[1], rtol=0, atol=0)
    fixed = DualPolicy(layer=Softmax(price=Price(multiplier=3.0)))(revenue, cost, batch, 1.0)
    assert_close(fixed, DualPolicy(layer=Softmax())(revenue, cost, batch, 1.0))


def test_exact_derivatives_of_both_orders() -> None:
    revenue, cost, batch = three_arms(rows=8)
    layer = Softmax(softness=Softness(0.4, "absolute"), price=Price(multiplier=0.0))
    for estimator in ("horvitz-thompson", "self-normalised", "doubly-robust"):
        loss = DualPolicy(layer=layer, estimator=estimator)  # type: ignore[arg-type]
        assert torch.autograd.gradcheck(lambda r, c: loss(r, c, batch, 1.0), (revenue, cost))  # noqa: B023
        assert torch.autograd.gradgradcheck(lambda r, c: loss(r, c, batch, 1.0), (revenue, cost))  # noqa: B023


@pytest.mark.parametrize(
    "prices",
    [
        *[(), (-0.1,), (float("nan"),), (float("inf"),)],
        *[0.5, "0.5", ("a",), (None,), torch.tensor([0.1, 0.5])],
    ],
)
def test_multipliers_out_of_range_are_refused(prices: Any) -> None:
    with pytest.raises(InvalidValueError, match="multipliers must be a tuple of numbers"):
        DualPolicy(multipliers=prices)


def test_other_options_are_checked_when_the_loss_is_made() -> None:
    with pytest.raises(InvalidValueError, match="estimator must be one of 'horvitz-thompson',"):
        DualPolicy(estimator="best")  # type: ignore[arg-type]
    for kind in (DualPolicy, PrimalPolicy):
        with pytest.raises(
            InvalidValueError, match="layer must be an instance of AbstractLayer, got"
        ):
            kind(layer="softmax")  # type: ignore[arg-type]
