"""PIFD and DIFD on three people derived by hand, and against a plain loop."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.layers import FiniteDifference, Price, Softness
from dfl.losses import LOSSES, AbstractDecisionLoss, DualPolicy, LoggedBatch, PrimalPolicy
from tests.losses.toy import three_arms

PUBLISHED: dict[str, Any] = {"margins": "exact", "softness": Softness(1.0, "absolute")}


def primal(multiplier: float) -> PrimalPolicy:
    """PIFD as published, but for a multiplier that is given."""
    layer = FiniteDifference(price=Price(multiplier=multiplier), **PUBLISHED)
    return PrimalPolicy(layer=layer, estimator="horvitz-thompson", objective="revenue")


def dual(multiplier: float) -> DualPolicy:
    """DIFD as published."""
    return DualPolicy(
        layer=FiniteDifference(**PUBLISHED),
        multipliers=(multiplier,),
        estimator="horvitz-thompson",
    )


def by_hand() -> tuple[Tensor, Tensor, LoggedBatch]:
    """Three people, three treatments, each received once, so that 1 / (N p) = 1.

    At multiplier .5, scores a = r_hat - .5 c_hat are::

        person 1   0   .5  .4    chooses 1, received 1: matched
        person 2   .3   0  .1    chooses 0, received 2: mismatched
        person 3   .2  .6  .1    chooses 1, received 0: mismatched
    """
    revenue = [[0.0, 1.0, 1.4], [0.3, 0.5, 1.1], [0.2, 1.1, 1.1]]
    cost = [[0.0, 1.0, 2.0]] * 3
    batch = LoggedBatch(
        treatment=torch.tensor([1, 2, 0]),
        revenue=torch.tensor([2.0, 1.5, 0.5], dtype=torch.float64),
        cost=torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64),
        weight=torch.full((3,), 3.0, dtype=torch.float64),
    )
    inputs = (torch.tensor(one, dtype=torch.float64).requires_grad_() for one in (revenue, cost))
    return *inputs, batch


# With g_i what person i's outcome adds to the value, dV/dz' is:
#   person 1, matched, t = 1. Smallest margin .5 - .4 = .1, so h_1 = -.1 and -g / h_1 = 10 g;
#     to 0, h_0 = .5 - 0 = .5 and -g / h_0 = -2 g; to 2, h_2 = .5 - .4 = .1 and -10 g.
#   person 2, mismatched, t = 2, choice 0. h_2 = .3 - .1 = .2: 5 g at 2, -5 g at 0, 0 at 1.
#   person 3, mismatched, t = 0, choice 1. h_0 = .6 - .2 = .4: 2.5 g at 0, -2.5 g at 1, 0 at 2.
PER_UNIT = [[-2.0, 10.0, -10.0], [-5.0, 0.0, 5.0], [2.5, -2.5, 0.0]]


@pytest.mark.parametrize(
    ("loss", "gains", "value"),
    [
        # PIFD: g = r = 2, 1.5, .5; only person 1 is matched, so V = 2.
        (primal(0.5), [2.0, 1.5, 0.5], 2.0),
        # DIFD at .5: g = r - .5 c = 1.5, .5, .5; V = 1.5.
        (dual(0.5), [1.5, 0.5, 0.5], 1.5),
    ],
    ids=["PIFD", "DIFD"],
)
def test_three_people_by_hand(loss: AbstractDecisionLoss, gains: list[float], value: float) -> None:
    revenue, cost, batch = by_hand()
    found = loss(revenue, cost, batch, 1.0)
    assert_close(found.item(), -value)
    frozen = torch.tensor(PER_UNIT, dtype=torch.float64)
    frozen = frozen * torch.tensor(gains, dtype=torch.float64)[:, None]
    soft = (revenue - 0.5 * cost).softmax(dim=1)
    expected = torch.autograd.grad(-(frozen * soft).sum(), (revenue, cost))
    # A step goes a millionth beyond the margin, which is 1e-5 of the smallest one.
    assert_close(torch.autograd.grad(found, (revenue, cost)), expected, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("price", [0.0, 0.4, 1.2])
def test_a_loop_over_people_and_treatments_finds_the_same(price: float) -> None:
    """PIFD's rule, entry by entry as the paper writes it."""
    revenue, cost, batch = three_arms()
    gains = batch.weight * batch.revenue / len(batch.revenue)
    scores = (revenue - price * cost).detach()
    frozen = torch.zeros_like(scores)
    for i, (a, t) in enumerate(zip(scores.tolist(), batch.treatment.tolist(), strict=True)):
        best = max(range(3), key=a.__getitem__)
        gain = float(gains[i])
        if best == t:
            nearest = max(a[j] for j in range(3) if j != t)
            frozen[i, t] = -gain / (nearest - a[t] - 1e-6)
            for j in range(3):
                if j != t:
                    frozen[i, j] = -gain / (a[t] - a[j] + 1e-6)
        else:
            step = a[best] - a[t] + 1e-6
            frozen[i, t], frozen[i, best] = gain / step, -gain / step
    soft = (revenue - price * cost).softmax(dim=1)
    expected = torch.autograd.grad(-(frozen * soft).sum(), (revenue, cost))
    found = torch.autograd.grad(primal(price)(revenue, cost, batch, 1.0), (revenue, cost))
    assert_close(found, expected)


def test_defaults_meet_the_budget_on_the_logs() -> None:
    revenue, cost, batch = three_arms()
    revenue, cost = revenue.detach(), cost.detach()
    loss = LOSSES.make("primal-finite-difference")
    assert isinstance(loss, PrimalPolicy)
    shares, multiplier = loss.layer(revenue, cost, 40.0, batch.observed_cost)
    received = shares.gather(1, batch.treatment[:, None])[:, 0]
    assert float((batch.weight * received * batch.cost).sum()) <= 40 * (1 + 1e-9)
    weight = batch.weight * received
    outcome = batch.revenue - multiplier * batch.cost
    value = (weight * outcome).sum() / weight.sum()
    assert_close(loss(revenue, cost, batch, 40.0), -value)
