"""IFD: the golden cases of the authors' code, and a loop over people as the slow truth."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import InvalidValueError
from dfl.layers import Softness
from dfl.losses import ImprovedFiniteDifference
from dfl.losses.estimators.policy_value import Estimator
from tests.losses.toy import three_arms, toy_a

UNIT = Softness(0.3, "absolute")
PUBLISHED: dict[str, Any] = {"softness": UNIT, "multipliers": (0.5,)}


@pytest.mark.parametrize(
    ("options", "by_revenue", "by_cost", "surrogate"),
    [
        (
            {"margins": "exact"},
            [0.999993, 0.599998, -1.333325, 0.749996],
            [-0.499998, -0.299999, 0.666664, -0.374999],
            -0.2608321,
        ),
        ({"margins": "window"}, [0.5, 0.5, -0.6666667, 0.5], None, -0.1916667),
        (
            {"margins": "window", "softness": Softness(0.2, "absolute")},
            [0.75, 0, -1, 0],
            [0, 0, 0, 0],
            None,
        ),
        (
            {"margins": "largest"},
            [0.599998, 0.599998, -0.799997, 0.599997],
            None,
            -0.2299991,
        ),
    ],
)
def test_golden_cases(
    options: dict[str, Any],
    by_revenue: list[float],
    by_cost: list[float] | None,
    surrogate: float | None,
) -> None:
    """G5, official estimator: gradients of the value in column 1; column 0 is the negative."""
    revenue, cost, batch = toy_a()
    loss = ImprovedFiniteDifference(**PUBLISHED | options)(revenue, cost, batch, 1.0)
    assert_close(loss.item(), -0.6, atol=1e-9, rtol=0)
    slopes = torch.autograd.grad(-loss, (revenue, cost))
    for slope, expected in zip(slopes, (by_revenue, by_cost), strict=True):
        if expected is not None:
            column = torch.tensor(expected, dtype=torch.float64)
            assert_close(slope, torch.stack((-column, column), dim=1), atol=1e-6, rtol=0)
    if surrogate is not None:
        assert_close(-float((revenue.detach() * slopes[0]).sum()), surrogate, atol=1e-6, rtol=0)


@pytest.mark.parametrize("estimator", ["self-normalised", "horvitz-thompson"])
@pytest.mark.parametrize("price", [0.0, 0.3, 0.9])
def test_a_loop_over_people_finds_the_same(estimator: Estimator, price: float) -> None:
    """Flip one decision after the other, and value the whole policy again each time."""
    revenue, cost, batch = three_arms()
    outcome = batch.revenue - price * batch.cost
    scores = (revenue - price * cost).detach()
    choice = scores.argmax(dim=1)

    def value(followed: torch.Tensor) -> float:
        weight = batch.weight * followed
        size = weight.sum() if estimator == "self-normalised" else len(outcome)
        return float((weight * outcome).sum() / size)

    matched = choice == batch.treatment
    expected = torch.zeros_like(scores)
    for i, t in enumerate(batch.treatment.tolist()):
        others = scores[i].clone()
        others[t] = -torch.inf
        opponent = int(others.argmax()) if bool(matched[i]) else int(choice[i])
        changed = matched.clone()
        changed[i] = ~matched[i]
        step = float(scores[i, opponent] - scores[i, t])
        step += -1e-6 if bool(matched[i]) else 1e-6
        slope = (value(changed) - value(matched)) / step
        expected[i, t], expected[i, opponent] = slope, -slope
    options: Any = {"margins": "exact", "softness": UNIT, "estimator": estimator}
    loss = ImprovedFiniteDifference(multipliers=(price,), **options)(revenue, cost, batch, 1.0)
    assert_close(loss.item(), -value(matched))
    by_revenue, by_cost = torch.autograd.grad(-loss, (revenue, cost))
    assert_close(by_revenue, expected)
    steps_of_cost = -price * expected  # but for the millionth by which a step goes over
    assert_close(by_cost, steps_of_cost, rtol=1e-3, atol=1e-9)


def test_the_loss_is_the_mean_over_multipliers() -> None:
    revenue, cost, batch = three_arms()
    both, first, second = (
        ImprovedFiniteDifference(multipliers=prices)(revenue, cost, batch, 1.0)
        for prices in ((0.1, 0.7), (0.1,), (0.7,))
    )
    assert_close(both, (first + second) / 2)


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="multipliers must be a tuple of numbers"):
        ImprovedFiniteDifference(multipliers=())
    with pytest.raises(InvalidValueError, match="estimator must be one of 'horvitz-thompson',"):
        ImprovedFiniteDifference(estimator="exact")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="margins must be one of 'exact', 'floor'"):
        ImprovedFiniteDifference(margins="half")  # type: ignore[arg-type]
