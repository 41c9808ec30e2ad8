from dataclasses import replace

import numpy as np
import pytest
import torch

from dfl.errors import InvalidValueError
from dfl.metrics.bootstrap import Bootstrap, summarise
from dfl.stats.intervals import interval_factor


def test_each_draw_has_as_many_rows_as_the_data(simulate) -> None:
    draws = list(Bootstrap(draws=5).counts(simulate(100)))
    assert len(draws) == 5
    assert all(counts.shape == (100,) and counts.sum() == 100 for counts in draws)
    assert not np.array_equal(draws[0], draws[1])


def test_rows_of_a_group_are_drawn_together(simulate) -> None:
    data = simulate(120, rows_per_group=4)
    scattered = torch.randperm(120, generator=torch.Generator().manual_seed(3))
    data = replace(data.subset(scattered), groups=data.groups[scattered] * 1000 - 7)
    for counts in Bootstrap(draws=5).counts(data):
        for group in data.groups.unique():
            assert len(set(counts[(data.groups == group).numpy()])) == 1


def test_same_seed_same_draws_other_seed_others(simulate) -> None:
    data = simulate(50)
    first, again, other = (
        np.stack(list(Bootstrap(draws=3, seed=seed).counts(data))) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_no_draw_misses_a_treatment(simulate) -> None:
    data = simulate(30, 2)
    rare = torch.zeros(30, dtype=torch.int64)
    rare[:2] = 1  # two rows of thirty: one draw in eight would miss both
    data = replace(data, treatment=rare)
    assert all(counts[:2].sum() > 0 for counts in Bootstrap(draws=100).counts(data))


def test_interval_is_normal_at_the_level() -> None:
    estimate = summarise(2.0, torch.tensor([1.0, 2.0, 3.0]).double(), 0.95, 0)
    assert estimate.standard_error == pytest.approx(1)
    assert (estimate.low, estimate.high) == pytest.approx((2 - 1.959964, 2 + 1.959964))


def test_rows_key_tells_rows_and_draws_apart(simulate) -> None:
    data, plan = simulate(50), Bootstrap(draws=3)
    assert plan.rows_key(data) == plan.rows_key(simulate(50))
    others = [
        plan.rows_key(data.subset(torch.arange(50).flip(0))),
        plan.rows_key(replace(data, groups=torch.arange(50))),
        Bootstrap(draws=4).rows_key(data),
        Bootstrap(draws=3, seed=1).rows_key(data),
    ]
    assert plan.rows_key(data) not in others


def test_too_few_draws() -> None:
    with pytest.raises(InvalidValueError, match="draws must be >= 2, got 1"):
        Bootstrap(draws=1)


@pytest.mark.parametrize("level", [0.0, 1.0, float("nan")])
def test_level_out_of_range(level: float) -> None:
    with pytest.raises(InvalidValueError, match=r"level must be in \(0, 1\)"):
        Bootstrap(level=level)
    with pytest.raises(InvalidValueError, match=r"level must be in \(0, 1\)"):
        interval_factor(level)


def test_a_treatment_seen_once_cannot_be_bootstrapped(simulate) -> None:
    data = simulate(30, 2)
    once = torch.zeros(30, dtype=torch.int64)
    once[4] = 1
    message = "every treatment in at least 2 rows or groups, got treatment 1 in 1"
    with pytest.raises(InvalidValueError, match=message):
        next(Bootstrap().counts(replace(data, treatment=once)))
    in_one_group = torch.zeros(30, dtype=torch.int64)
    in_one_group[:3] = 1
    data = replace(data, treatment=in_one_group, groups=torch.arange(30) // 3)
    with pytest.raises(InvalidValueError, match=message):
        next(Bootstrap().counts(data))
