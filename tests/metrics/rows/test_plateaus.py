import numpy as np
import pytest

from dfl.metrics.rows.plateaus import Events, Plateaus


def curve(cost: list[float], value: list[float], cheapest: tuple[float, float] = (0.0, 1.0)):
    return Plateaus(np.array(cost), np.array(value), *cheapest)


def test_events_are_summed_by_falling_multiplier_and_ties_together() -> None:
    events = Events.at(np.array([0.5, 2.0, 0.5, 1.0]))
    assert events.multiplier.tolist() == [2.0, 1.0, 0.5, 0.0]
    change = np.array([1.0, 10.0, 2.0, 1000.0])[events.order]
    assert events.accumulate(100.0, change).tolist() == [100.0, 110.0, 1110.0, 1113.0]


def test_events_that_differ_by_rounding_happen_at_once() -> None:
    above, below = 2.0 * (1 + 3e-16), 2.0 * (1 - 3e-16)
    events = Events.at(np.array([below, 1.0, above, 2.0]))
    assert events.multiplier.tolist() == [above, 1.0, 0.0]
    change = np.array([1.0, 10.0, 100.0, 1000.0])[events.order]
    assert events.accumulate(0.0, change).tolist() == [0.0, 1101.0, 1111.0]


def test_no_event_leaves_one_empty_plateau() -> None:
    events = Events.at(np.zeros(0))
    assert events.multiplier.tolist() == [0.0]
    assert events.accumulate(3.0, np.zeros(0)).tolist() == [3.0]


def test_the_budget_is_spent_by_mixing_neighbours() -> None:
    (mix,) = curve([0, 1, 2, 4], [1, 5, 7, 8]).mixes([1.5])
    assert (mix.cost, mix.value, mix.plateau, mix.cheapest) == pytest.approx((1.5, 6, 1, 0))


def test_a_budget_that_lies_on_a_plateau_takes_it() -> None:
    (mix,) = curve([0, 1, 2, 4], [1, 5, 7, 8]).mixes([2])
    assert (mix.cost, mix.value, mix.plateau) == pytest.approx((2, 7, 2))


def test_a_generous_budget_gives_the_unconstrained_policy() -> None:
    (mix,) = curve([0, 1, 2, 4], [1, 5, 7, 8]).mixes([9])
    assert (mix.cost, mix.value, mix.plateau, mix.cheapest) == (4, 8, 3, 0)


def test_where_every_plateau_overspends_the_tightest_is_mixed_with_the_cheapest() -> None:
    (mix,) = curve([3, 2, 4], [6, 5, 8]).mixes([0.5])
    assert (mix.cost, mix.value, mix.plateau, mix.cheapest) == pytest.approx((0.5, 2, 1, 0.75))


def test_several_budgets_are_met_each_for_itself() -> None:
    plateaus = curve([0, 1, 2, 4], [1, 5, 7, 8])
    assert plateaus.mixes([9, 1.5]) == [*plateaus.mixes([9]), *plateaus.mixes([1.5])]


def test_of_several_crossings_the_smallest_multiplier_is_taken() -> None:
    (mix,) = curve([0, 2, 1, 3], [0, 4, 2, 6]).mixes([1.5])
    assert (mix.cost, mix.value, mix.plateau) == pytest.approx((1.5, 3, 2))


def test_a_curve_that_turns_up_again_is_met_after_its_lowest_point() -> None:
    (mix,) = curve([3, 1, 2, 4], [6, 5, 7, 8]).mixes([1.5])
    assert (mix.cost, mix.value, mix.plateau, mix.cheapest) == pytest.approx((1.5, 6, 1, 0))


@pytest.mark.parametrize("budget", np.linspace(0.3, 3.9, 13).tolist())
def test_a_crooked_curve_still_keeps_the_invariant(budget: float) -> None:
    cost = np.array([0, 1, 0.5, 2, 1.5, 3, 2.5, 4])
    plateaus = Plateaus(cost, cost * 2, 0.0, 0.0)
    (mix,) = plateaus.mixes([budget])
    assert cost[mix.plateau] <= budget < cost[mix.plateau + 1]
    assert (mix.cost, mix.value) == pytest.approx((budget, 2 * budget))


def test_where_even_the_cheapest_overspends_it_is_given_to_everyone() -> None:
    (mix,) = curve([3, 4], [6, 8], (2.0, 1.5)).mixes([1])
    assert (mix.cost, mix.value, mix.cheapest) == (2, 1.5, 1)
