from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch

from dfl.data.uplift_data import UpliftData
from dfl.errors import InvalidValueError, ShapeError, UnsupportedProblemError
from dfl.metrics.rows.randomised_rows import PolicyEstimator
from dfl.metrics.rows.ranked_rows import RankedRows


def test_increments_end_at_the_difference_of_the_arm_means(simulate) -> None:
    data = simulate(80, 2)
    ranked = RankedRows.of(data, data.features[:, 0])
    treated = data.treatment == 1
    effect = data.revenue[treated].mean() - data.revenue[~treated].mean()
    assert ranked.increments().revenue[-1] == pytest.approx(float(effect))


def test_counting_a_row_twice_is_having_it_twice(simulate) -> None:
    data = simulate(80, 2)
    score = (9 * data.features[:, 0]).round()
    counts = (np.arange(80) % 4).astype(np.int16)
    twice = torch.arange(80).repeat_interleave(torch.from_numpy(counts.astype(np.int64)))
    found = RankedRows.of(data, score).increments(counts)
    by_hand = RankedRows.of(data.subset(twice), score[twice]).increments()
    assert found.people.tolist() == by_hand.people.tolist()
    assert found.revenue == pytest.approx(by_hand.revenue)
    assert found.cost == pytest.approx(by_hand.cost)


def test_ties_nobody_of_was_drawn_leave_no_point(simulate) -> None:
    data = simulate(80, 2)
    counts = (data.features[:, 0] > 0.5).numpy().astype(np.int16)
    people = RankedRows.of(data, data.features[:, 0]).increments(counts).people
    assert people.tolist() == list(range(int(counts.sum()) + 1))


def test_only_two_treatments(simulate) -> None:
    data = simulate(60, 3)
    with pytest.raises(UnsupportedProblemError, match="compare two treatments, got 3"):
        RankedRows.of(data, data.features[:, 0])


def test_only_one_propensity_for_all(simulate) -> None:
    data = simulate(60, 2, known_propensity=True)
    with pytest.raises(UnsupportedProblemError, match="everyone must have the same propensity"):
        RankedRows.of(data, data.features[:, 0])
    even = replace(data, propensity=torch.full((60, 2), 0.5, dtype=torch.float64))
    assert RankedRows.of(even, data.features[:, 0]).amounts.shape == (2, 60)


def test_only_randomised_rows(simulate) -> None:
    data = replace(simulate(60, 2), source="obs")
    with pytest.raises(InvalidValueError, match="need randomised rows, these are observational"):
        RankedRows.of(data, data.features[:, 0])


def test_only_scores_that_fit(simulate) -> None:
    data = simulate(60, 2)
    with pytest.raises(ShapeError, match=r"score must be \(60,\), one per row, got \(60, 1\)"):
        RankedRows.of(data, data.features)
    with pytest.raises(InvalidValueError, match="score must be finite"):
        RankedRows.of(data, data.features[:, 0] * torch.nan)


def test_an_unknown_estimator(simulate) -> None:
    data = simulate(60, 2)
    with pytest.raises(InvalidValueError, match="estimator must be one of 'doubly-robust', 'self"):
        RankedRows.of(data, data.features[:, 0], "naive")


def shuffled(data: UpliftData, score: torch.Tensor, seed: int) -> tuple[UpliftData, torch.Tensor]:
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    return data.subset(order), score[order]


@pytest.mark.parametrize("estimator", ["horvitz-thompson", "doubly-robust"])
def test_ties_are_the_mean_over_all_their_orders(simulate, estimator: PolicyEstimator) -> None:
    data = simulate(6, 2)
    score = torch.tensor([1.0, 2.0, 1.0, 0.0, 1.0, 0.0])
    found = RankedRows.of(data, score, estimator).increments()
    mean = np.zeros(7)
    orders = list(permutations(range(6)))
    for order in orders:  # broken apart at random, and averaged over every way to do so
        broken = score + 0.01 * torch.tensor(order)
        one = RankedRows.of(data, broken, estimator).increments()
        mean += one.row_by_row(one.revenue) / len(orders)
    assert found.row_by_row(found.revenue) == pytest.approx(mean)
    assert found.area(found.revenue) == pytest.approx((mean.sum() - mean[-1] / 2) / 6)


@pytest.mark.parametrize("estimator", ["horvitz-thompson", "doubly-robust"])
def test_the_order_of_the_rows_does_not_matter(simulate, estimator: PolicyEstimator) -> None:
    data = simulate(300, 2)
    score = (3 * data.features[:, 0]).round()
    found = RankedRows.of(data, score, estimator).increments()
    for seed in range(3):
        moved = RankedRows.of(*shuffled(data, score, seed), estimator).increments()
        assert moved.people.tolist() == found.people.tolist() != list(range(301))
        assert moved.revenue == pytest.approx(found.revenue)
        assert moved.cost == pytest.approx(found.cost)
