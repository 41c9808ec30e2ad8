from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dfl.budget import Budget
from dfl.errors import DTypeError, InfeasibleBudgetError, InvalidValueError, ShapeError
from dfl.metrics import aucc, best_constant_mix, expected_outcome, rate
from dfl.metrics.rows.randomised_rows import (
    RandomisedRows,
    UnsafeEstimatorWarning,
    amounts_of,
    check_predictions,
    check_score,
    per_head_budgets,
)
from dfl.metrics.rows.redrawn import rows_key
from dfl.stats.bootstrap import Bootstrap


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


def test_a_treatment_that_some_could_not_receive_is_warned_of(simulate) -> None:
    data = simulate(60, known_propensity=True)
    closed = (data.treatment != 2) & (torch.arange(60) < 20)
    chance = data.propensity * (1 - closed[:, None] * torch.tensor([0, 0, 1]))
    data = replace(data, propensity=chance / chance.sum(dim=1, keepdim=True))
    said = f"Treatment 2 has propensity 0 in {int(closed.sum())} of 60 rows: what it brings"
    with pytest.warns(UnsafeEstimatorWarning, match=said):
        RandomisedRows.of(data)


def test_observational_rows_without_propensity(simulate) -> None:
    data = replace(simulate(30), source="obs")
    with pytest.raises(InvalidValueError, match="must be randomised, or carry a known propensity"):
        RandomisedRows.of(data)


@pytest.mark.parametrize(
    "measure",
    [
        lambda data, column: aucc(data, column),
        lambda data, column: rate(data, column),
        lambda data, column: expected_outcome(data, column, column, [Budget(per_head=1.0)]),
        lambda data, column: best_constant_mix(data, [Budget(per_head=1.0)]),
    ],
)
def test_what_is_no_rows_is_refused(measure: Any) -> None:
    with pytest.raises(InvalidValueError, match="data must be an instance of UpliftData, got tens"):
        measure(torch.ones(4, 2), torch.ones(4))


def test_predictions_of_another_shape() -> None:
    good, bad = torch.ones(4, 2), torch.ones(4, 3)
    with pytest.raises(ShapeError, match=r"predicted cost must be \(4, 2\).* got \(4, 3\)"):
        check_predictions(good, bad, 4, 2)


def test_predictions_that_are_not_finite() -> None:
    good, bad = torch.ones(4, 2), torch.ones(4, 2)
    bad[1, 1] = torch.nan
    with pytest.raises(InvalidValueError, match=r"predicted revenue must be finite.*1 value"):
        check_predictions(bad, good, 4, 2)


DTYPES = (torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_score_is_taken_in_any_dtype_and_with_its_graph(dtype: torch.dtype) -> None:
    score = torch.tensor([1, 0, 1]).to(dtype)
    found = check_score(score.requires_grad_(dtype.is_floating_point), 3)
    assert (found.dtype, found.requires_grad, found.tolist()) == (torch.float64, False, [1, 0, 1])


@pytest.mark.parametrize(
    ("score", "error", "message"),
    [
        ([1.0, 2.0], DTypeError, "score must be a tensor, got list; torch.as_tensor"),
        (np.ones(2), DTypeError, "score must be a tensor, got ndarray; torch.as_tensor"),
        (torch.ones(2) * 1j, DTypeError, "score must hold real numbers, got torch.complex64"),
        (torch.ones(2, 1), ShapeError, r"score must be \(2,\), one per row, got \(2, 1\)"),
        (torch.tensor([1, torch.inf]), InvalidValueError, "score must be finite, got NaN or inf"),
    ],
)
def test_a_score_that_ranks_nobody(score: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_score(score, 2)
    with pytest.raises(InvalidValueError, match="score must rank at least one row, got none"):
        check_score(torch.ones(0), 0)


def test_logs_are_taken_with_their_graph(simulate) -> None:
    data = simulate(60, 2, known_propensity=True)
    assert data.propensity is not None
    amounts = ("features", "revenue", "cost", "propensity")
    graph = replace(data, **{one: getattr(data, one).clone().requires_grad_() for one in amounts})
    assert (amounts_of(graph) == amounts_of(data)).all()
    assert (RandomisedRows.of(graph).missed == RandomisedRows.of(data).missed).all()
    assert rows_key(graph, Bootstrap()) == rows_key(data, Bootstrap())


@pytest.mark.parametrize("budgets", [5.0, [5.0], Budget(per_head=5.0), [Budget(total=1.0), None]])
def test_budgets_that_are_none(budgets: Any) -> None:
    with pytest.raises(
        DTypeError, match=r"budgets must be a sequence of Budget, got .*Budget\(per"
    ):
        per_head_budgets(budgets, 10, np.array([0.0, 1.0]))


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
    with pytest.raises(DTypeError, match=r"predicted revenue must be a tensor, got ndarray"):
        check_predictions(table, table, 4, 2)
