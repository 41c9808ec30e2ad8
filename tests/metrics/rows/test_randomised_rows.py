from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dfl.budget import Budget
from dfl.errors import DTypeError, InfeasibleBudgetError, InvalidValueError, ShapeError
from dfl.metrics.rows.randomised_rows import RandomisedRows, check_predictions, per_head_budgets


def test_arm_means_are_means_of_the_drawn_rows(simulate) -> None:
    data = simulate(60)
    counts = np.arange(60, dtype=np.int16) % 3
    cost, revenue = RandomisedRows.of(data, "horvitz-thompson").arm_means(counts)
    times = torch.from_numpy(counts.astype(np.int64))
    for arm in range(3):
        mine = (data.treatment == arm).repeat_interleave(times)
        drawn = data.revenue.repeat_interleave(times), data.cost.repeat_interleave(times)
        assert revenue[arm] == pytest.approx(float(drawn[0][mine].mean()))
        assert cost[arm] == pytest.approx(float(drawn[1][mine].mean()))


def test_known_propensity_gives_horvitz_thompson_means(simulate) -> None:
    data = simulate(60, known_propensity=True)
    rows = RandomisedRows.of(data, "horvitz-thompson")
    _, revenue = rows.arm_means(rows.as_logged())
    for arm in range(3):
        share = (data.treatment == arm) / data.propensity[:, arm]
        assert revenue[arm] == pytest.approx(float((share * data.revenue).mean()))


def test_observational_rows_without_propensity(simulate) -> None:
    data = replace(simulate(30), source="obs")
    with pytest.raises(InvalidValueError, match="must be randomised, or carry a known propensity"):
        RandomisedRows.of(data)


def test_predictions_of_another_shape() -> None:
    good, bad = torch.ones(4, 2), torch.ones(4, 3)
    with pytest.raises(ShapeError, match=r"predicted cost must be \(4, 2\).* got \(4, 3\)"):
        check_predictions(good, bad, 4, 2)


def test_predictions_that_are_not_finite() -> None:
    good, bad = torch.ones(4, 2), torch.ones(4, 2)
    bad[1, 1] = torch.nan
    with pytest.raises(InvalidValueError, match=r"predicted revenue must be finite.*1 value"):
        check_predictions(bad, good, 4, 2)


def test_budgets_in_three_units_per_head() -> None:
    budgets = [Budget(total=30), Budget(per_head=3), Budget(share=0.25)]
    assert per_head_budgets(budgets, 10, np.array([2.0, 1.0, 5.0])) == pytest.approx([3, 3, 2])


def test_no_budget() -> None:
    with pytest.raises(InvalidValueError, match="at least one Budget"):
        per_head_budgets([], 10, np.array([0.0, 1.0]))


def test_a_budget_below_the_cheapest_treatment() -> None:
    message = "budget per_head=0.5 is 0.5 per head, below the 1 per head"
    with pytest.raises(InfeasibleBudgetError, match=message):
        per_head_budgets([Budget(per_head=0.5)], 10, np.array([1.0, 2.0]))


def test_arrays_that_are_no_tensors_are_refused() -> None:
    table: Any = np.zeros((4, 2))
    with pytest.raises(DTypeError, match=r"predicted revenue must be a torch\.Tensor, got ndarray"):
        check_predictions(table, table, 4, 2)
