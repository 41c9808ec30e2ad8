from dataclasses import replace

import pytest
import torch

from dfl.budget import Budget
from dfl.data import CouponSimulator, PartSizes, UpliftData
from dfl.errors import InvalidValueError
from dfl.methods import Prediction
from dfl.pipeline.spend import arm_cost_ratios, margin_of, spend_ratio
from dfl.problem import AllocationProblem
from dfl.solvers import GreedyDual


def rows(size: int = 20_000, seed: int = 0) -> UpliftData:
    sizes = PartSizes(rct=100, obs=100, validation=100, test=size)
    return CouponSimulator(sizes=sizes).hybrid(seed).test


def ratio(data: UpliftData, cost: torch.Tensor, budget: Budget) -> dict[str, float]:
    assert data.truth is not None
    predicted = Prediction(data.truth.revenue, cost)
    found = spend_ratio(data, predicted, GreedyDual(), budget, 0.95)
    assert found is not None
    return found


def test_true_costs_are_spent_as_predicted() -> None:
    data = rows()
    assert data.truth is not None
    found = ratio(data, data.truth.cost, Budget(share=0.3))
    assert found["low"] < 1 < found["high"]
    assert found["standard_error"] < 0.06


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_costs_that_are_predicted_wrong_by_a_factor(factor: float) -> None:
    data = rows()
    assert data.truth is not None
    found = ratio(data, factor * data.truth.cost, Budget(share=0.3))
    assert found["value"] == pytest.approx(1 / factor, rel=0.1)


def test_choosing_by_noisy_costs_overspends() -> None:
    data = rows()
    assert data.truth is not None
    noise = torch.rand(data.truth.cost.shape, generator=torch.Generator().manual_seed(0)) + 0.5
    assert ratio(data, noise * data.truth.cost, Budget(share=0.3))["low"] > 1


def test_where_there_is_nothing_to_compare() -> None:
    data = rows(200)
    assert data.truth is not None
    cost = data.truth.cost
    for costs, budget in ((0 * cost, Budget(share=0.5)), (cost + 1, Budget(per_head=0.5))):
        predicted = Prediction(data.truth.revenue, costs)
        assert spend_ratio(data, predicted, GreedyDual(), budget, 0.95) is None


def test_each_treatment_stands_alone() -> None:
    data = rows()
    assert data.truth is not None
    cost = data.truth.cost.clone()
    cost[:, 1] *= 2
    predicted = Prediction(data.truth.revenue, cost)
    found = [one["value"] for one in arm_cost_ratios(data, predicted, 0.95) if one is not None]
    free = int((cost.sum(dim=0) == 0).sum())
    assert len(found) == data.treatments - free
    assert found[1 - free] == pytest.approx(0.5, rel=0.1)
    assert found[2 - free :] == pytest.approx([1.0] * (data.treatments - 2), rel=0.1)


def test_few_rows_know_no_error() -> None:
    data = rows(60)
    assert data.truth is not None
    predicted = Prediction(data.truth.revenue, data.truth.cost + 1)
    counts = data.arm_counts.tolist()
    found = arm_cost_ratios(data, predicted, 0.95)
    assert [one is None for one in found] == [count < 30 for count in counts]
    assert None in found


def test_rows_of_a_group_count_together() -> None:
    alone = rows(2_000)
    twice = alone.subset(torch.arange(2_000).repeat_interleave(4))
    paired = replace(twice, groups=torch.arange(2_000).repeat_interleave(4))
    errors = []
    for data in (alone, paired, twice):
        assert data.truth is not None
        errors.append(ratio(data, data.truth.cost, Budget(share=0.3))["standard_error"])
    assert errors[1] == pytest.approx(errors[0], rel=1e-3)
    assert errors[2] == pytest.approx(errors[0] / 2, rel=1e-3)


METRICS = {
    "budgets": [
        {"given": "share=0.3", "per_head": 3.0},
        {"given": "share=0.6", "per_head": 6.0},
        {"given": "share=0.9", "per_head": 9.0},
    ],
    "spend": {
        "share=0.3": {"value": 1.1, "standard_error": 0.05, "low": 1.0, "high": 1.2},
        "share=0.6": {"value": 0.5, "standard_error": 0.01, "low": 0.48, "high": 0.52},
        "share=0.9": None,
    },
}


@pytest.mark.parametrize(
    ("per_head", "level", "at", "high"),
    [(4.0, 0.95, 3.0, 1.1 + 1.6448536 * 0.05), (1.0, 0.5, 3.0, 1.1), (20.0, 0.9, 6.0, 0.512816)],
)
def test_the_margin_is_that_of_the_nearest_measured_budget(
    per_head: float, level: float, at: float, high: float
) -> None:
    found = margin_of(METRICS, per_head, level)
    assert (found.level, found.measured_at) == (level, at)
    assert found.high == pytest.approx(high, abs=1e-6)
    assert found.share == pytest.approx(min(1 / high, 1), abs=1e-6)  # never more than the budget


def test_where_nothing_was_spent_the_margin_leaves_all() -> None:
    nothing = {"value": 0.0, "standard_error": 0.0, "low": 0.0, "high": 0.0}
    found = margin_of(METRICS | {"spend": {"share=0.3": nothing}}, 3.0, 0.95)
    assert (found.high, found.share) == (0.0, 1.0)


@pytest.mark.parametrize("level", [0.4, 1.0, float("nan")])
def test_a_margin_out_of_range(level: float) -> None:
    with pytest.raises(InvalidValueError, match=r"margin must be in \[0.5, 1\), got"):
        margin_of(METRICS, 1.0, level)


def test_a_run_that_knows_no_ratio() -> None:
    for metrics in ({}, METRICS | {"spend": {}}, METRICS | {"spend": {"share=0.3": None}}):
        with pytest.raises(InvalidValueError, match="which this run has not measured"):
            margin_of(metrics, 1.0, 0.95)


def noisy(data: UpliftData, seed: int) -> Prediction:
    assert data.truth is not None
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(data.truth.cost.shape, generator=generator) + 0.5
    return Prediction(data.truth.revenue, data.truth.cost * noise)


def test_with_a_margin_the_true_spend_is_within_the_budget() -> None:
    measured, fresh = rows(), rows(seed=1)
    assert fresh.truth is not None
    budget = Budget(share=0.3)
    found = spend_ratio(measured, noisy(measured, 0), GreedyDual(), budget, 0.95)
    metrics = {"budgets": [{"given": "b", "per_head": 1.0}], "spend": {"b": found}}
    share, predicted = margin_of(metrics, 1.0, 0.95).share, noisy(fresh, 1)
    total = budget.total_of(predicted.cost)
    for money, within in ((total, False), (share * total, True)):
        problem = AllocationProblem(predicted.revenue, predicted.cost, money)
        choice = GreedyDual().solve(problem).choice[:, None]
        assert (float(fresh.truth.cost.gather(1, choice).sum()) <= total) is within
