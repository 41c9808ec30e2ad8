"""Pacing: the budget level moves through a day as money and people come and go."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor

from dfl.checks import check_choice, check_number, check_tensor
from dfl.errors import ShapeError
from dfl.problem.amounts import check_amounts
from dfl.segments.plan import SegmentPlan

__all__ = ["Control", "Day", "simulate_day"]

Control: TypeAlias = Literal["paced", "fixed"]


@final
@dataclass(frozen=True, eq=False)
class Day:
    """What happened in each of T intervals, in currency.

    Args:
        rate: money per head that the level was set to. Shape ``(T,)``.
        spent: shape ``(T,)``.
        earned: shape ``(T,)``.
    """

    rate: Tensor
    spent: Tensor
    earned: Tensor


def simulate_day(
    plan: SegmentPlan,
    budget: float,
    forecast: Tensor,  # (T,)
    arrivals: Tensor,  # (T,)
    redemption: Tensor,  # (T,)
    *,
    control: Control = "paced",
) -> Day:
    """Serve a day's people, interval by interval, from a plan.

    ``"paced"``: before each interval the money left is divided by the people still expected, and
    the level set to that rate; people still expected are those of the forecast, times how many
    came so far for each one forecast. ``"fixed"``: the first interval's rate all day. A rate
    between two budgets of the plan mixes them, so that the expected cost follows the rate; one
    below the plan's smallest gets the smallest, and one above its largest the largest. Where the
    money left is 0, the smallest is served.

    Args:
        plan: treatments by budget.
        budget: money for the day, in currency, > 0.
        forecast: people expected in each interval, >= 0, some in the first.
        arrivals: people who come, >= 0.
        redemption: what an interval's cost is, for one unit that the plan expects, >= 0.
        control: how the level moves.

    Raises:
        ShapeError: if the intervals differ in number, or there is none.
        InvalidValueError: if the budget or the first forecast is not positive, something else is
            negative or not finite, or the control is unknown.
        DTypeError: if intervals are no tensors.
    """
    check_choice("control", control, ("paced", "fixed"))
    check_number("budget", budget, above=0)
    given = {"forecast": forecast, "arrivals": arrivals, "redemption": redemption}
    for name, one in given.items():
        check_tensor(name, one)
    shapes = [tuple(one.shape) for one in given.values()]
    if len(set(shapes)) > 1 or forecast.ndim != 1 or not forecast.numel():
        raise ShapeError(
            "forecast, arrivals and redemption must have the same intervals, at least one, "
            f"got {', '.join(map(str, shapes))}."
        )
    for name, one in given.items():
        check_amounts(name, one.double())
    check_number("first forecast", float(forecast[0]), above=0)
    ahead = forecast.double().flip(0).cumsum(0).flip(0)
    left, seen, expected = budget, 0.0, 0.0
    fixed = budget / float(ahead[0])
    rates, spent, earned = [], [], []
    for now in range(len(forecast)):
        pace = seen / expected if expected > 0 and seen > 0 else 1.0
        rate = max(left, 0.0) / max(float(ahead[now]) * pace, 1e-12)
        rate = fixed if control == "fixed" else rate
        revenue, cost = _mixed(plan, rate)
        people = float(arrivals[now])
        rates.append(rate)
        spent.append(people * cost * float(redemption[now]))
        earned.append(people * revenue)
        left -= spent[-1]
        seen, expected = seen + people, expected + float(forecast[now])
    return Day(*(torch.tensor(one, dtype=torch.float64) for one in (rates, spent, earned)))


def _mixed(plan: SegmentPlan, rate: float) -> tuple[float, float]:
    """Return expected revenue and cost per head at a rate, mixing neighbouring budgets."""
    cost = plan.cost  # that of a larger budget may be smaller
    if rate <= float(cost[0]):
        return float(plan.revenue[0]), float(cost[0])
    high = int((cost.cummax(dim=0).values < rate).sum())
    if high == len(cost):
        return float(plan.revenue[-1]), float(cost[-1])
    share = (rate - float(cost[high - 1])) / float(cost[high] - cost[high - 1])
    revenue = plan.revenue[high - 1] + share * (plan.revenue[high] - plan.revenue[high - 1])
    return float(revenue), rate
