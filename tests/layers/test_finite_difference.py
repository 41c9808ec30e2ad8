"""Finite differences through hard choices: a plain loop, the clip rules, what they report."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.errors import InvalidValueError
from dfl.layers import FiniteDifference, Price, Softness

OVER = 1e-6


def problem(rows: int = 7, arms: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return revenue and cost with gradients, and a slope with zeros in it."""
    generator = torch.Generator().manual_seed(seed)
    revenue, cost, slope = torch.rand(3, rows, arms, generator=generator, dtype=torch.float64)
    slope = (slope - 0.5) * (slope > 0.3)
    return revenue.requires_grad_(), cost.requires_grad_(), slope


def pulled(layer: FiniteDifference, *inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients in revenue and cost for a slope of the shares."""
    revenue, cost, slope = inputs
    found = torch.autograd.grad((layer(revenue, cost, 1.0).shares * slope).sum(), (revenue, cost))
    return found[0], found[1]


def rate(step: float, largest: float, margins: str, width: float) -> float:
    """Return 1 / step under a clip rule."""
    if margins == "window":
        return 1 / width if step < width else 0.0
    if margins == "largest":
        return 1 / largest
    return 1 / (max(step, width) if margins == "floor" else step)


def loop(
    scores: Tensor, slope: Tensor, opponents: str, margins: str, width: float, price: float = 1.0
) -> Tensor:
    """Return the rule, one entry of the slope after the other; steps are divided by ``price``."""
    touched: list[tuple[int, int, int, float, float]] = []  # row, entry, sign's entry, step, slope
    rows, arms = scores.shape
    for i in range(rows):
        a, g = scores[i].tolist(), slope[i].tolist()
        k = max(range(arms), key=a.__getitem__)
        step = {j: (a[k] - a[j]) / price + OVER for j in range(arms) if j != k}
        nearest = min(step, key=step.__getitem__)
        for j in step:
            if g[j] != 0:  # j comes in when it rises, and when k falls
                touched += [(i, j, 1, step[j], g[j]), (i, k, -1, step[j], g[j])]
            if g[k] != 0 and (opponents == "every" or j == nearest):  # k goes out when j rises
                touched.append((i, j, -1, step[j], g[k]))
        if g[k] != 0:  # and when it falls itself
            touched.append((i, k, 1, step[nearest], g[k]))
    largest = max((one[3] for one in touched), default=1.0)
    found = torch.zeros_like(scores)
    for i, j, sign, length, value in touched:
        found[i, j] += sign * value * rate(length, largest, margins, width)
    return found


CASES = list(
    product(["every", "nearest"], ["exact", "floor", "window", "largest"], [0.15, 0.6], [0.0, 0.7])
)


@pytest.mark.parametrize(("opponents", "margins", "width", "price"), CASES)
def test_scores_as_a_loop_does(opponents: Any, margins: Any, width: float, price: float) -> None:
    revenue, cost, slope = problem()
    layer = FiniteDifference(
        opponents=opponents,
        margins=margins,
        width=width,
        perturbed="scores",
        softness=Softness(0.3, "absolute"),
        price=Price(multiplier=price),
    )
    expected = loop((revenue - price * cost).detach(), slope, opponents, margins, width)
    by_revenue, by_cost = pulled(layer, revenue, cost, slope)
    assert_close(by_revenue, expected)
    assert_close(by_cost, -price * expected)


@pytest.mark.parametrize(("opponents", "margins", "width", "price"), CASES)
def test_outcomes_as_a_loop_does(opponents: Any, margins: Any, width: float, price: float) -> None:
    revenue, cost, slope = problem()
    layer = FiniteDifference(
        opponents=opponents,
        margins=margins,
        width=width,
        perturbed="outcomes",
        softness=Softness(0.3, "absolute"),
        price=Price(multiplier=price),
    )
    scores = (revenue - price * cost).detach()
    by_revenue, by_cost = pulled(layer, revenue, cost, slope)
    assert_close(by_revenue, loop(scores, slope, opponents, margins, width))
    expected = torch.zeros_like(scores)  # money is free: no cost changes a decision
    if price > 0:
        expected = -loop(scores, slope, opponents, margins, width, price)
    assert_close(by_cost, expected)


def test_the_gradient_goes_on_through_the_softmax() -> None:
    revenue, cost, slope = problem()
    options: Any = {"price": Price(multiplier=0.7), "margins": "exact"}
    tau = Softness(0.4, "absolute")
    frozen, _ = pulled(
        FiniteDifference(perturbed="scores", softness=tau, **options), revenue, cost, slope
    )
    soft = ((revenue - 0.7 * cost) / 0.4).softmax(dim=1)
    expected = torch.autograd.grad((frozen * soft).sum(), (revenue, cost))
    assert_close(pulled(FiniteDifference(softness=tau, **options), revenue, cost, slope), expected)


def test_the_relative_scale_is_the_absolute_one_in_units_of_the_spread() -> None:
    revenue, cost, slope = problem()
    relative = FiniteDifference(price=Price(multiplier=0.7))
    scores = (revenue - 0.7 * cost).detach()
    unit = (scores - scores.mean(dim=1, keepdim=True)).square().mean().sqrt()
    inside = [(one.detach() / unit).requires_grad_() for one in (revenue, cost)]
    absolute = FiniteDifference(softness=Softness(0.3, "absolute"), price=Price(multiplier=0.7))
    expected = [one / unit for one in pulled(absolute, *inside, slope)]
    assert_close(list(pulled(relative, revenue, cost, slope)), expected)


@pytest.mark.parametrize("seed", range(5))
def test_a_person_gains_along_the_gradient(seed: int) -> None:
    """A long enough step along it ends on the treatment of the largest slope, of two."""
    revenue, cost, _ = problem(rows=30, arms=2, seed=seed)
    slope = torch.rand(30, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    layer = FiniteDifference(perturbed="scores", price=Price(multiplier=0.5))
    for _ in range(200):
        by_revenue, _ = pulled(layer, revenue, cost, slope)
        revenue = (revenue + 0.05 * by_revenue).detach().requires_grad_()
    shares = layer(revenue, cost, 1.0).shares
    assert_close(shares.argmax(dim=1), slope.argmax(dim=1))


@pytest.mark.parametrize("price", [0.0, 0.5])
@pytest.mark.parametrize(
    "options", [{"margins": "largest"}, {"margins": "exact"}, {"perturbed": "outcomes"}]
)
def test_ties_and_slopes_of_zero_stay_finite(options: Any, price: float) -> None:
    tied = 5 * torch.ones(3, 4, dtype=torch.float64)
    some = torch.cat((tied[:, :2], tied[:, 2:] - 1), dim=1)
    for values in (tied, some):
        layer = FiniteDifference(
            price=Price(multiplier=price), **{"perturbed": "scores", **options}
        )
        for slope in (torch.zeros(3, 4), torch.ones(3, 4)):
            inputs = (values.clone().requires_grad_(), (2 * tied).requires_grad_())
            for found in pulled(layer, *inputs, slope.double()):
                assert bool(found.isfinite().all())


def test_the_share_of_narrow_margins_is_reported() -> None:
    revenue = torch.tensor([[0.0, 1.0], [0.0, 0.05], [0.3, 0.0], [0.0, 0.2]], dtype=torch.float64)
    layer = FiniteDifference(width=0.1, softness=Softness(0.3, "absolute"))
    several = torch.stack((revenue, 10 * revenue))
    found = layer.narrow(several, torch.zeros_like(several), torch.zeros(2, dtype=torch.float64))
    assert_close(found, torch.tensor([0.25, 0.0], dtype=torch.float64))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"opponents": "all"}, "opponents must be one of 'every', 'nearest', got 'all'"),
        ({"margins": "fix"}, "margins must be one of 'exact', 'floor', 'window', 'largest'"),
        ({"width": 0.0}, "width must be > 0, got 0"),
        (
            {"perturbed": "cost"},
            "perturbed must be one of 'softmax', 'scores', 'outcomes', got 'cost'",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(options: Any, text: str) -> None:
    with pytest.raises(InvalidValueError, match=text):
        FiniteDifference(**options)
