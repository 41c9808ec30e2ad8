"""Pacing through simulated days."""

import dataclasses

import pytest
import torch

from dfl.errors import DTypeError, InvalidValueError, ShapeError
from dfl.segments.pacing import simulate_day
from tests.segments.made import plan

HOURS = torch.full((24,), 100.0).double()
ONES = torch.ones(24).double()
PLAN = plan()


def test_a_day_as_forecast_spends_the_budget() -> None:
    for control in ("paced", "fixed"):
        day = simulate_day(PLAN, 120.0, HOURS, HOURS, ONES, control=control)  # type: ignore[arg-type]
        assert float(day.spent.sum()) == pytest.approx(120)
        torch.testing.assert_close(day.rate, torch.full((24,), 0.05).double())


def test_dear_mornings_are_made_up_for() -> None:
    redemption = torch.where(torch.arange(24) < 12, 1.6, 1.0).double()
    paced = simulate_day(PLAN, 120.0, HOURS, HOURS, redemption)
    fixed = simulate_day(PLAN, 120.0, HOURS, HOURS, redemption, control="fixed")
    assert float(fixed.spent.sum()) == pytest.approx(120 * 1.3)
    assert float(paced.spent.sum()) == pytest.approx(120, rel=0.01)
    assert bool((paced.rate[:12].diff() < 0).all())


def test_more_people_than_forecast_are_noticed() -> None:
    generator = torch.Generator().manual_seed(0)
    over: dict[str, list[float]] = {"paced": [], "fixed": []}
    for _ in range(200):
        day_factor = torch.randn((), generator=generator).mul(0.3).exp().double()
        arrivals = torch.poisson(HOURS * day_factor, generator=generator)
        redemption = torch.randn(24, generator=generator).mul(0.2).exp().double()
        for control in over:
            day = simulate_day(PLAN, 120.0, HOURS, arrivals, redemption, control=control)  # type: ignore[arg-type]
            over[control].append(float(day.spent.sum()) / 120 - 1)
    miss = {control: torch.tensor(one).abs().mean() for control, one in over.items()}
    assert miss["paced"] < 0.2 * miss["fixed"]
    assert max(over["paced"]) < 0.25 < max(over["fixed"])


def test_no_money_left_is_served_the_smallest_level() -> None:
    redemption = torch.ones(24).double()
    redemption[0] = 1_000
    day = simulate_day(PLAN, 120.0, HOURS, HOURS, redemption)
    assert float(day.spent[1:].sum()) == 0
    rich = simulate_day(PLAN, 1e6, HOURS, HOURS, ONES)
    assert float(rich.spent.sum()) == pytest.approx(2400 * float(PLAN.cost[-1]))


def test_a_level_that_costs_less_than_a_smaller_one_is_billed_so() -> None:
    cost = torch.tensor([0.0, 1.0, 0.9, 1.5, 1.4]).double()
    revenue = torch.arange(5).double()
    falling = dataclasses.replace(PLAN, cost=cost, revenue=revenue)
    hour = torch.ones(1).double()
    for rate, billed, earned in ((1.0, 1.0, 1.0), (1.2, 1.2, 2.5), (2.0, 1.4, 4.0)):
        day = simulate_day(falling, rate, hour, hour, hour)
        assert (float(day.spent), float(day.earned)) == pytest.approx((billed, earned))


def test_wrong_days_are_refused() -> None:
    with pytest.raises(DTypeError, match="arrivals must be a tensor, got list"):
        simulate_day(PLAN, 1.0, HOURS, HOURS.tolist(), ONES)
    with pytest.raises(ShapeError, match="same intervals"):
        simulate_day(PLAN, 1.0, HOURS, HOURS[:3], ONES)
    with pytest.raises(ShapeError, match="same intervals, at least one, got "):
        simulate_day(PLAN, 1.0, HOURS[:0], HOURS[:0], ONES[:0])
    for wrong, said in ((-1.0, "be >= 0"), (torch.nan, "be finite")):
        for name in ("forecast", "arrivals", "redemption"):
            given = {"forecast": HOURS, "arrivals": HOURS, "redemption": ONES}
            given[name] = given[name].index_fill(0, torch.tensor([3]), wrong)
            with pytest.raises(InvalidValueError, match=f"{name} must {said}"):
                simulate_day(PLAN, 1.0, **given)
    with pytest.raises(InvalidValueError, match="budget must be > 0"):
        simulate_day(PLAN, 0.0, HOURS, HOURS, ONES)
    with pytest.raises(InvalidValueError, match="first forecast must be > 0"):
        simulate_day(PLAN, 1.0, 0 * HOURS, HOURS, ONES)
    with pytest.raises(InvalidValueError, match="control must be one of"):
        simulate_day(PLAN, 1.0, HOURS, HOURS, ONES, control="prayer")  # type: ignore[arg-type]
