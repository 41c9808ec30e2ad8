from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dfl.data.uplift_data import PotentialOutcomes, UpliftData
from dfl.errors import InfeasibleBudgetError, InvalidValueError, ShapeError
from dfl.metrics.rows.randomised_rows import PolicyEstimator
from dfl.metrics.spend_curve import SpendCurve, observed_curve, true_curve
from dfl.solvers.passes.decide import decide
from dfl.solvers.passes.hull import hull_steps

RAW: PolicyEstimator = "horvitz-thompson"


def brute_force(
    data: UpliftData, revenue: torch.Tensor, cost: torch.Tensor, multiplier: float
) -> tuple[float, float]:
    """Spend and value at one multiplier, by an argmax and horvitz-thompson as it is written."""
    matched = decide(revenue, cost, multiplier) == data.treatment
    weight = data.weight * matched
    return float((weight * data.cost).mean()), float((weight * data.revenue).mean())


def place(curve: SpendCurve, multiplier: float) -> int:
    """Plateau on which a multiplier lies."""
    return int((curve.multiplier > multiplier).sum())


@pytest.mark.parametrize("treatments", [1, 2, 5])
@pytest.mark.parametrize("known", [False, True])
def test_observed_curve_is_the_estimator_at_every_multiplier(
    simulate, predict, treatments: int, known: bool
) -> None:
    data = simulate(60, treatments, known_propensity=known)
    revenue, cost = predict(data)
    curve = observed_curve(data, revenue, cost, estimator=RAW)
    for multiplier in [0, *curve.multiplier.tolist(), *torch.linspace(0, 40, 99).tolist()]:
        at = place(curve, multiplier)
        expected = brute_force(data, revenue, cost, multiplier)
        assert (float(curve.cost[at]), float(curve.value[at])) == pytest.approx(expected, abs=1e-12)


def test_rounded_predictions_tie_and_are_still_counted_once(simulate, predict) -> None:
    data = simulate(200, 4)
    revenue, cost = (torch.round(x) for x in predict(data))
    curve = observed_curve(data, revenue, cost, estimator=RAW)
    assert len(curve.multiplier) < 30
    assert bool((curve.multiplier.diff() < 0).all())
    for multiplier in torch.arange(0, 12, 0.25).tolist():
        at = place(curve, multiplier)
        expected = brute_force(data, revenue, cost, multiplier)
        assert (float(curve.cost[at]), float(curve.value[at])) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("treatments", [1, 2, 5])
def test_true_curve_is_the_truth_of_the_decision_at_every_multiplier(
    simulate, predict, treatments: int
) -> None:
    data = simulate(60, treatments)
    revenue, cost = predict(data)
    curve = true_curve(data.truth, revenue, cost)
    for multiplier in torch.linspace(0, 40, 199, dtype=torch.float64).tolist():
        choice = decide(revenue, cost, multiplier)[:, None]
        at = place(curve, multiplier)
        assert float(curve.cost[at]) == pytest.approx(
            float(data.truth.cost.gather(1, choice).mean())
        )
        value = float(data.truth.revenue.gather(1, choice).mean())
        assert float(curve.value[at]) == pytest.approx(value)


@pytest.mark.parametrize("per_head", [0.05, 0.3, 0.7, 1.1])
def test_at_a_budget_the_policies_on_both_sides_of_the_multiplier_are_mixed(
    simulate, predict, per_head: float
) -> None:
    data = simulate(300)
    revenue, cost = predict(data)
    point = observed_curve(data, revenue, cost, estimator=RAW).at(per_head)
    low_cost, low_value = brute_force(data, revenue, cost, point.multiplier)
    high_cost, high_value = brute_force(data, revenue, cost, point.multiplier * (1 - 1e-12))
    assert low_cost <= per_head < high_cost
    share = (per_head - low_cost) / (high_cost - low_cost)
    assert point.cost == pytest.approx(per_head)
    assert point.value == pytest.approx(low_value + share * (high_value - low_value))
    assert point.mixed_with_cheapest == 0


def test_a_budget_that_does_not_bind_gives_multiplier_0(simulate, predict) -> None:
    data = simulate(300)
    revenue, cost = predict(data)
    point = observed_curve(data, revenue, cost, estimator=RAW).at(100)
    expected = brute_force(data, revenue, cost, 0)
    assert (point.cost, point.value) == pytest.approx(expected)
    assert (point.multiplier, point.mixed_with_cheapest) == (0, 0)


def test_inverted_costs_are_mixed_with_the_cheapest_treatment(simulate) -> None:
    data = simulate(300, 2)
    truth = data.truth
    point = true_curve(truth, truth.revenue, truth.cost.flip(1)).at(0.25)
    everyone = truth.cost[:, 1].mean(), truth.revenue[:, 1].mean()
    share = 0.25 / float(everyone[0])
    nobody = float(truth.revenue[:, 0].mean())
    assert point.mixed_with_cheapest == pytest.approx(1 - share)
    assert point.cost == pytest.approx(0.25)
    assert point.value == pytest.approx(nobody + share * (float(everyone[1]) - nobody))


def test_a_budget_below_the_cheapest_treatment(simulate, predict) -> None:
    data = simulate(50)
    data = replace(data, cost=data.cost + 1)
    curve = observed_curve(data, *predict(data))
    with pytest.raises(InfeasibleBudgetError, match=r"at least the 1 per head .* got 0\.5"):
        curve.at(0.5)


def test_a_budget_that_is_missing_has_no_point_and_one_without_end_has(simulate, predict) -> None:
    data = simulate(50)
    curve = observed_curve(data, *predict(data))
    with pytest.raises(InvalidValueError, match="per_head must be a number, got nan"):
        curve.at(float("nan"))
    assert curve.at(float("inf")).value == curve.value[-1]


def test_predictions_must_fit(simulate, predict) -> None:
    data = simulate(50)
    revenue, cost = predict(data)
    for curve, rows in ((observed_curve, data), (true_curve, data.truth)):
        with pytest.raises(ShapeError, match="predicted revenue must be"):
            curve(rows, revenue[:-1], cost)
        with pytest.raises(InvalidValueError, match="predicted cost must be finite"):
            curve(rows, revenue, cost / 0)


def test_observational_rows_have_no_curve(simulate, predict) -> None:
    data = replace(simulate(50), source="obs")
    with pytest.raises(InvalidValueError, match="must be randomised"):
        observed_curve(data, *predict(data))


@given(
    seed=st.integers(0, 10_000), share=st.floats(0.01, 0.99), currency=st.sampled_from([0.01, 7])
)
def test_the_order_of_rows_and_the_currency_do_not_matter(
    simulate, predict, seed: int, share: float, currency: float
) -> None:
    data = simulate(80, seed=seed)
    revenue, cost = predict(data, seed=seed + 1)
    curve = observed_curve(data, revenue, cost)
    order = torch.randperm(80, generator=torch.Generator().manual_seed(seed))
    moved = data.subset(order)
    moved = replace(moved, revenue=currency * moved.revenue, cost=currency * moved.cost)
    other = observed_curve(moved, currency * revenue[order], currency * cost[order])
    budget = share * float(curve.cost.max())
    point, same = curve.at(budget), other.at(currency * budget)
    assert (same.value, same.cost) == pytest.approx((currency * point.value, currency * point.cost))
    assert same.multiplier == pytest.approx(point.multiplier)
    assert same.mixed_with_cheapest == pytest.approx(point.mixed_with_cheapest)


@pytest.mark.parametrize("unit", [10.0, 0.01, 1e-3])
def test_treatments_on_one_line_do_not_depend_on_the_unit_of_predictions(
    simulate, unit: float
) -> None:
    # Whose middle doses lie on the line from the least to the largest, rounding decides.
    data = simulate(100, 4)
    slope, price = torch.rand(2, 100, 1, generator=torch.Generator().manual_seed(0)).double() + 0.3
    dose = torch.arange(4, dtype=torch.float64)
    revenue, cost = data.features + dose * slope, dose * price
    steps, scaled = hull_steps(revenue, cost), hull_steps(unit * revenue, unit * cost)
    assert not steps.treatment.equal(scaled.treatment)
    for curve, rows in ((observed_curve, data), (true_curve, data.truth)):
        found, same = curve(rows, revenue, cost), curve(rows, unit * revenue, unit * cost)
        assert len(found.value) == len(same.value) == 101
        assert found.value.numpy() == pytest.approx(same.value.numpy())
        assert found.cost.numpy() == pytest.approx(same.cost.numpy())


def test_float32_predictions_are_taken(simulate, predict) -> None:
    data = simulate(200)
    revenue, cost = predict(data)
    exact = observed_curve(data, revenue, cost).at(0.5)
    single = observed_curve(data.to("cpu", torch.float32), revenue.float(), cost.float()).at(0.5)
    assert single.value == pytest.approx(exact.value, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64])
def test_predictions_are_taken_in_any_dtype_and_with_their_graph(
    simulate, predict, dtype: torch.dtype
) -> None:
    data = simulate(60)
    rounded = [one.to(dtype) for one in predict(data)]
    given = [one.clone().requires_grad_(dtype.is_floating_point) for one in rounded]
    for curve, rows in ((observed_curve, data), (true_curve, data.truth)):
        exact = curve(rows, *(one.double() for one in rounded))
        assert curve(rows, *given).value.equal(exact.value)


def test_nobody_has_no_true_curve(simulate) -> None:
    truth = PotentialOutcomes(torch.zeros(0, 2), torch.zeros(0, 2))
    with pytest.raises(InvalidValueError, match="truth must hold at least one person, got none"):
        true_curve(truth, torch.zeros(0, 2), torch.zeros(0, 2))
