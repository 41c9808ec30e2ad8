import numpy as np
import pytest
import torch

from dfl.errors import InvalidValueError
from dfl.stats.arrays import Counts, Integers
from dfl.stats.bootstrap import Bootstrap, summarise
from dfl.stats.intervals import interval_factor


def arms(rows: int) -> Integers:
    return np.arange(rows) % 2


def draw(bootstrap: Bootstrap, treatment: Integers, groups: Integers | None = None) -> list[Counts]:
    return list(bootstrap.counts(treatment, arms=2, groups=groups))


def test_each_draw_has_as_many_rows_as_the_data() -> None:
    draws = draw(Bootstrap(draws=5), arms(100))
    assert len(draws) == 5
    assert all(counts.shape == (100,) and counts.sum() == 100 for counts in draws)
    assert not np.array_equal(draws[0], draws[1])


def test_rows_of_a_group_are_drawn_together() -> None:
    groups = np.random.default_rng(3).permutation(np.arange(120) // 4) * 1000 - 7
    for counts in draw(Bootstrap(draws=5), arms(120), groups):
        for group in np.unique(groups):
            assert len(set(counts[groups == group])) == 1


def test_same_seed_same_draws_other_seed_others() -> None:
    first, again, other = (
        np.stack(draw(Bootstrap(draws=3, seed=seed), arms(50))) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_no_draw_misses_a_treatment() -> None:
    rare = np.zeros(30, dtype=np.int64)
    rare[:2] = 1  # two rows of thirty: one draw in eight would miss both
    assert all(counts[:2].sum() > 0 for counts in draw(Bootstrap(draws=100), rare))


def test_too_many_rare_treatments_end_in_words_and_not_in_a_search_without_end() -> None:
    with pytest.raises(InvalidValueError, match=r"1000 in turn lacked one.* treatments 1, 2, 3"):
        draw(Bootstrap(), np.append(np.arange(160) % 80, np.zeros(20, dtype=np.int64)))


def test_interval_is_normal_at_the_level() -> None:
    estimate = summarise(2.0, torch.tensor([1.0, 2.0, 3.0]).double(), 0.95, 0)
    assert estimate.standard_error == pytest.approx(1)
    assert (estimate.low, estimate.high) == pytest.approx((2 - 1.959964, 2 + 1.959964))


def test_rows_key_tells_rows_and_draws_apart() -> None:
    revenue, plan = np.arange(50.0), Bootstrap(draws=3)
    others = [
        plan.rows_key([revenue[::-1]], 50),
        plan.rows_key([revenue, arms(50)], 50),
        plan.rows_key([], 50),
        Bootstrap(draws=4).rows_key([revenue], 50),
        Bootstrap(draws=3, seed=1).rows_key([revenue], 50),
    ]
    assert plan.rows_key([revenue], 50) == plan.rows_key([revenue.copy()], 50)
    assert plan.rows_key([revenue], 50) not in others


def test_too_few_draws() -> None:
    with pytest.raises(InvalidValueError, match="draws must be >= 2, got 1"):
        Bootstrap(draws=1)


@pytest.mark.parametrize("level", [0.0, 1.0, float("nan")])
def test_level_out_of_range(level: float) -> None:
    with pytest.raises(InvalidValueError, match=r"level must be in \(0, 1\)"):
        Bootstrap(level=level)
    with pytest.raises(InvalidValueError, match=r"level must be in \(0, 1\)"):
        interval_factor(level)


def test_a_treatment_seen_once_cannot_be_bootstrapped() -> None:
    once = np.zeros(30, dtype=np.int64)
    once[4] = 1
    message = "every treatment in at least 2 rows or groups, got treatment 1 in 1"
    with pytest.raises(InvalidValueError, match=message):
        draw(Bootstrap(), once)
    in_one_group = np.zeros(30, dtype=np.int64)
    in_one_group[:3] = 1
    with pytest.raises(InvalidValueError, match=message):
        draw(Bootstrap(), in_one_group, np.arange(30) // 3)
