from dataclasses import replace

import numpy as np
import pytest
import torch

from dfl.errors import InvalidValueError, ShapeError, UnsupportedProblemError
from dfl.metrics.rows.ranked_rows import RankedRows
from dfl.metrics.rows.redrawn import redrawn
from dfl.stats.bootstrap import Bootstrap


def test_increments_end_at_the_difference_of_the_arm_means(simulate) -> None:
    data = simulate(80, 2)
    ranked = RankedRows.of(data, data.features[:, 0])
    treated = data.treatment == 1
    effect = data.revenue[treated].mean() - data.revenue[~treated].mean()
    assert ranked.increments(ranked.revenue)[-1] == pytest.approx(float(effect))


def test_draws_hold_the_drawn_rows_in_order_of_score(simulate) -> None:
    data, plan = simulate(80, 2), Bootstrap(draws=4)
    data = replace(data, revenue=data.features[:, 0])
    drawn = RankedRows.redrawn(data, data.features[:, 0], plan)
    for ranked, counts in zip(drawn, redrawn(data, plan), strict=True):
        expected = np.repeat(data.revenue.numpy(), counts)
        assert ranked.revenue.tolist() == sorted(expected.tolist(), reverse=True)


def test_only_two_treatments(simulate) -> None:
    data = simulate(60, 3)
    with pytest.raises(UnsupportedProblemError, match="compare two treatments, got 3"):
        RankedRows.of(data, data.features[:, 0])


def test_only_one_propensity_for_all(simulate) -> None:
    data = simulate(60, 2, known_propensity=True)
    with pytest.raises(UnsupportedProblemError, match="everyone must have the same propensity"):
        RankedRows.of(data, data.features[:, 0])
    even = replace(data, propensity=torch.full((60, 2), 0.5, dtype=torch.float64))
    assert len(RankedRows.of(even, data.features[:, 0]).revenue) == 60


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
