"""DRP and DPM: golden cases, optima at the truth, derivatives."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.data import CouponSimulator
from dfl.layers import Softness
from dfl.losses import (
    LoggedBatch,
    MarginalUtility,
    Roi,
    direct_roi_loss,
    marginal_utility_loss,
)
from dfl.losses.estimators.increments import increment_score
from tests.losses.toy import three_arms


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("scores", "loss", "gradient"),
    [
        ((0.0, 0.0), 0.3812309, (0.05, -0.075)),
        ((0.5, -0.5), 0.4607423, (0.0867378, -0.1056148)),
        ((math.log(0.5), math.log(4)), 0.3160549, (0.0, 0.0)),
    ],
)
def test_golden_cases_of_drp(
    scores: tuple[float, float], loss: float, gradient: tuple[float, float]
) -> None:
    """G2: two groups of people, whose ROI is 1/3 and 4/5."""
    group = column(*scores).requires_grad_()
    score = group[torch.tensor([0, 0, 1, 1, 0, 0, 1, 1])]
    treatment = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0])
    revenue = column(0.5, 0.3, 0.6, 0.8, 0.1, 0.3, 0.2, 0.4)
    cost = column(1, 0.8, 0.9, 0.7, 0.2, 0.4, 0.1, 0.5)
    found = direct_roi_loss(score, treatment, revenue, cost, torch.full((8,), 2.0).double())
    assert_close(found.item(), loss, atol=1e-6, rtol=0)
    by_person, by_group = torch.autograd.grad(found, (score, group))
    assert_close(by_group, column(*gradient), atol=1e-6, rtol=0)
    if scores == (0.0, 0.0):
        expected = column(0, 0.025, -0.0375, -0.1125, 0, 0.025, 0.0375, 0.0375)
        assert_close(by_person, expected, atol=1e-9, rtol=0)


def dpm(first: float, second: float) -> tuple[Tensor, Tensor]:
    """Return the loss of G3, and its gradient."""
    utility = column(first, second).requires_grad_()
    revenue, cost = column(0.1, 0.3, 0.6, 0.8, 0.9, 1.1), column(0, 0.2, 0.5, 0.7, 1.1, 1.3)
    treatment = torch.tensor([0, 0, 1, 1, 2, 2])
    found = marginal_utility_loss(
        utility.expand(6, 2), treatment, revenue, cost, torch.full((6,), 3.0).double()
    )
    return found, torch.autograd.grad(found, utility)[0]


def test_golden_cases_of_dpm() -> None:
    """G3; the marginal utilities are 1 and 1/2, and the best q half of that."""
    loss, slope = dpm(0.6, 0.4)
    assert_close(loss.item(), -0.048, atol=1e-9, rtol=0)
    assert_close(slope, column(0.0333333, 0.06), atol=1e-6, rtol=0)
    loss, slope = dpm(0.5, 0.25)
    assert_close(loss.item(), -0.0541667, atol=1e-6, rtol=0)
    assert_close(slope, column(0, 0), atol=1e-9, rtol=0)
    assert_close(dpm(1, 0.5)[0].item(), 0.0, atol=1e-9, rtol=0)


def test_arms_of_any_size_count_alike() -> None:
    """Rows twice over in one arm change nothing."""
    _, _, batch = three_arms()
    generator = torch.Generator().manual_seed(0)
    utility = torch.rand(60, 2, generator=generator, dtype=torch.float64)
    rows = torch.cat([torch.arange(60), (batch.treatment == 1).nonzero().flatten()])
    columns = (batch.treatment, batch.revenue, batch.cost, batch.weight)
    more = marginal_utility_loss(utility[rows], *(one[rows] for one in columns))
    assert_close(more, marginal_utility_loss(utility, *columns))


@pytest.mark.parametrize("loss", [Roi(), MarginalUtility()])
def test_the_truth_is_the_optimum(loss: Any) -> None:
    """On expected outcomes of all treatments at once, no change of scale improves on the truth."""
    rows = CouponSimulator(noise=0.0).draw(4_000, generator=torch.Generator().manual_seed(0))
    truth = rows.truth
    assert truth is not None
    revenue, cost = truth.revenue.double(), truth.cost.double()
    people, arms = revenue.shape
    batch = LoggedBatch(
        torch.arange(arms).repeat(people),
        revenue.flatten(),
        cost.flatten(),
        torch.full((people * arms,), float(arms)).double(),
    )
    factor = torch.ones(2, 1, arms, dtype=torch.float64).requires_grad_()
    lift, spent = revenue - revenue[:, :1], cost - cost[:, :1]
    predicted = (factor[0] * lift, factor[1] * spent)
    repeated = (one.repeat_interleave(arms, dim=0) for one in predicted)
    (slope,) = torch.autograd.grad(loss(*repeated, batch, 1.0), factor)
    wrong = 2 * factor.detach().requires_grad_()
    repeated = (one.repeat_interleave(arms, dim=0) for one in (wrong[0] * lift, spent))
    (away,) = torch.autograd.grad(loss(*repeated, batch, 1.0), wrong)
    assert float(slope.abs().max()) < 0.1 * float(away.abs().max())


@pytest.mark.parametrize("loss", [Roi(), MarginalUtility()])
def test_exact_derivatives_of_both_orders(loss: Any) -> None:
    revenue, cost, batch = three_arms(rows=8)
    assert torch.autograd.gradcheck(lambda r, c: loss(r, c, batch, 1.0), (revenue, cost))
    assert torch.autograd.gradgradcheck(lambda r, c: loss(r, c, batch, 1.0), (revenue, cost))


def test_increments_far_below_zero_keep_a_gradient() -> None:
    """``ln ln(1 + exp(x)) -> x``."""
    revenue = column(-1e4, -20, -15, -14.9, 0, 30).reshape(-1, 1).requires_grad_()
    score = increment_score(revenue, torch.ones_like(revenue), column(1)[0])
    (slope,) = torch.autograd.grad(score.sum(), revenue)
    x = revenue.detach()
    expected = x.sigmoid() / torch.nn.functional.softplus(x)
    assert_close(slope[1:], expected[1:])
    assert_close(slope[0].item(), 1.0)


@pytest.mark.parametrize("kind", [Roi, MarginalUtility])
def test_a_batch_in_which_nobody_cost_anything_teaches_nothing(kind: Any) -> None:
    """Beside one that has costs, in another leading axis."""
    revenue, cost, batch = three_arms()
    both = replace(batch.repeated(2), cost=torch.stack((torch.zeros_like(batch.cost), batch.cost)))
    given = torch.stack((revenue, revenue)).detach().requires_grad_()
    loss = kind()(given, torch.stack((cost, cost)).detach(), both, 1.0)
    free, plain = torch.autograd.grad(loss.sum(), given)[0]
    assert loss[0].item() == 0
    assert not bool(free.any())
    expected = kind()(revenue, cost, batch, 1.0)
    assert_close(loss[1], expected)
    assert_close(plain, torch.autograd.grad(expected, revenue)[0])
    absolute = kind(softness=Softness(0.1, "absolute"))(given, given.detach() / 2, both, 1.0)
    assert bool(absolute[0] != 0)  # a width of one's own needs no costs
