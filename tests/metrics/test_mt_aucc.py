from dataclasses import replace

import numpy as np
import pytest
import torch

from dfl.data.uplift_data import UpliftData
from dfl.errors import InvalidValueError, ShapeError, UnsupportedProblemError
from dfl.metrics.aucc import aucc, mt_aucc
from dfl.metrics.rows.ranked_rows import RankedSteps
from dfl.metrics.rows.redrawn import redrawn
from dfl.stats.bootstrap import Bootstrap

FEW = Bootstrap(draws=20)


def by_hand(data: UpliftData, score: torch.Tensor, quantiles: int) -> float:
    """The published scan over the published entries, in plain Python, without ties."""
    last, rows = data.treatments - 1, range(len(data))
    treatment = data.treatment.tolist()
    size = [treatment.count(arm) for arm in range(last + 1)]
    entries = []  # score, sign / n_t, row: those treated first, then those not
    for row in rows:
        if treatment[row] > 0:
            arm = treatment[row]
            entries.append((float(score[row, arm - 1]), 1 / size[arm], row))
    for row in rows:
        if treatment[row] < last:
            arm = treatment[row]
            entries.append((float(score[row, arm]), -1 / size[arm], row))
    entries.sort(key=lambda one: -one[0])
    totals = [
        sum(weight * float(amount[row]) for _, weight, row in entries)
        for amount in (data.cost, data.revenue)
    ]
    cost = revenue = 0.0
    kept, goal = [0.0], 1
    for place, (_, weight, row) in enumerate(entries):
        cost += weight * float(data.cost[row])
        revenue += weight * float(data.revenue[row])
        reached = goal < quantiles and cost >= goal * totals[0] / quantiles - 1e-12
        if place == len(entries) - 1 or reached:
            kept.append(revenue)
            goal += 1
    return sum(kept) / (totals[1] * (quantiles + 1))


@pytest.mark.parametrize("seed", range(8))
def test_it_is_the_published_scan(simulate, seed: int) -> None:
    data = simulate(60, 4, seed=seed)
    data = replace(data, revenue=data.revenue + data.treatment)
    score = torch.rand(60, 3, generator=torch.Generator().manual_seed(seed))
    for quantiles in (1, 5, 20):
        found = RankedSteps.of(data, score)
        assert len(found.row) == 120 - int(((data.treatment == 0) | (data.treatment == 3)).sum())
        area = mt_aucc(data, score, quantiles=quantiles, bootstrap=Bootstrap(draws=2)).value
        assert area == pytest.approx(by_hand(data, score, quantiles))


def test_in_equal_arms_it_is_the_published_form_of_the_two_groups() -> None:
    """Outcomes times N / n_t, over the numbers that took and that did not take a step."""
    treatment = torch.tensor([0, 1, 2] * 2)
    revenue = torch.tensor([0.0, 2, 3, 1, 1, 4], dtype=torch.float64)
    logged = UpliftData(
        torch.zeros(6, 1, dtype=torch.float64),
        treatment,
        revenue,
        treatment.double(),
        treatments=3,
        source="rct",
    )
    score = torch.tensor([[9, 8], [7, 6], [5, 4], [3, 2], [1, 0], [-1, -2]], dtype=torch.float64)
    # By falling score: 9 row 0 left, 7 row 1 took, 6 row 1 left, 4 row 2 took, 3 row 3 left,
    # 1 row 4 took, 0 row 4 left, -2 row 5 took; each of the four took or left 3 / 4 of its outcome.
    steps = np.array([0, 2, -2, 3, -1, 1, -1, 4]) * 3 / 4
    prices = np.array([0, 1, -1, 2, 0, 1, -1, 2]) * 3 / 4
    cost, kept, goal = np.cumsum(prices), [0.0], 1
    for place, one in enumerate(cost):
        if place == 7 or (goal < 3 and one >= goal * cost[-1] / 3 - 1e-12):
            kept.append(np.cumsum(steps)[place])
            goal += 1
    area = sum(kept) / (steps.sum() * 4)
    assert mt_aucc(logged, score, quantiles=3, bootstrap=FEW).value == pytest.approx(area)


def test_two_treatments_have_their_aucc(simulate) -> None:
    data = simulate(300, 2, rows_per_group=3)
    score = (5 * data.features[:, 0]).round()
    found = mt_aucc(data, score[:, None], quantiles=20, bootstrap=FEW)
    other = aucc(data, score, quantiles=20, bootstrap=FEW)
    assert found.value == pytest.approx(other.value)
    assert found.draws.tolist() == pytest.approx(other.draws.tolist())
    assert found.rows_key == other.rows_key


def test_draws_are_of_rows_not_of_entries(simulate) -> None:
    data = simulate(80)
    score = torch.rand(80, 2, generator=torch.Generator().manual_seed(0))
    found = mt_aucc(data, score, bootstrap=FEW).draws.tolist()
    for value, counts in zip(found, redrawn(data, FEW), strict=True):
        rows = torch.from_numpy(np.repeat(np.arange(80), counts))
        again = mt_aucc(data.subset(rows), score[rows], bootstrap=Bootstrap(draws=2))
        assert value == pytest.approx(again.value)


def test_equal_scores_are_a_straight_line_and_the_order_of_rows_does_not_matter(simulate) -> None:
    data = simulate(60)
    once = np.ones(60, np.int16)
    flat = RankedSteps.of(data, torch.zeros(60, 2)).increments(once)
    assert len(flat.people) == 2
    score = (3 * torch.rand(60, 2, generator=torch.Generator().manual_seed(0))).round()
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    found, moved = (
        RankedSteps.of(one, two).increments(once)
        for one, two in ((data, score), (data.subset(order), score[order]))
    )
    assert found.people.tolist() == moved.people.tolist()
    assert found.revenue.tolist() == pytest.approx(moved.revenue.tolist())


def test_a_score_that_says_nothing_has_half_and_a_good_one_more(simulate) -> None:
    data = simulate(20_000, 3)
    assert data.truth is not None
    nothing = mt_aucc(data, torch.zeros(20_000, 2), bootstrap=FEW)
    assert nothing.value == pytest.approx(0.5, abs=1e-3)
    steps = data.truth.revenue.diff(dim=1) / data.truth.cost.diff(dim=1)
    good, bad = (mt_aucc(data, sign * steps, bootstrap=FEW) for sign in (1, -1))
    assert good.low > 0.5 > bad.high


def test_bad_input(simulate) -> None:
    data = simulate(60)
    with pytest.raises(
        ShapeError, match=r"score must be \(60, 2\), one per row and step .* \(60,\)"
    ):
        mt_aucc(data, torch.zeros(60))
    with pytest.raises(InvalidValueError, match="score must be finite"):
        mt_aucc(data, torch.full((60, 2), torch.nan))
    with pytest.raises(InvalidValueError, match="quantiles must be >= 1, got 0"):
        mt_aucc(data, torch.zeros(60, 2), quantiles=0)
    with pytest.raises(UnsupportedProblemError, match="everyone must have the same propensity"):
        mt_aucc(simulate(60, known_propensity=True), torch.zeros(60, 2))
    backwards = replace(data, treatment=2 - data.treatment)
    with pytest.raises(InvalidValueError, match="the total cost effect of treating everyone"):
        mt_aucc(backwards, torch.zeros(60, 2))
    alone = replace(data, treatment=torch.zeros(60, dtype=torch.int64), treatments=1, truth=None)
    with pytest.raises(UnsupportedProblemError, match="two or more treatments, got 1"):
        mt_aucc(alone, torch.zeros(60, 0))
