import math

import numpy as np
import pytest
from scipy import stats

from dfl.errors import InvalidValueError
from dfl.stats.small_samples import Arm, Spread, spread_of

DRAW = np.random.default_rng(0)


def arm(values: np.ndarray, sign: int = 1, size: np.ndarray | None = None) -> Arm:
    """What units add to a difference of means."""
    size = np.ones(len(values)) if size is None else size
    residual = values - size * values.sum() / size.sum()
    return Arm(parts=sign * residual / size.sum(), size=size)


def spread(one: np.ndarray, two: np.ndarray) -> Spread:
    return spread_of(arm(one), arm(two, -1))


@pytest.mark.parametrize("sizes", [(2, 2), (3, 3), (4, 4)])
def test_a_handful_of_units_is_read_by_welchs_test(sizes: tuple[int, int]) -> None:
    one, two = DRAW.standard_normal(sizes[0]) + 1, DRAW.standard_normal(sizes[1])
    found, welch = spread(one, two), stats.ttest_ind(one, two, equal_var=False)
    gap = one.mean() - two.mean()
    assert found.p_value(gap) == pytest.approx(welch.pvalue)
    assert found.interval(gap, 1.96, 0.9) == pytest.approx(welch.confidence_interval(0.9))


def test_uneven_arms_take_the_degrees_of_equal_variances_where_these_are_fewer() -> None:
    found = spread(DRAW.standard_normal(6), DRAW.standard_normal(60))
    assert found.degrees <= (1 / 6 + 1 / 60) ** 2 / (1 / (6**2 * 5) + 1 / (60**2 * 59)) + 1e-9


def test_clusters_of_one_size_have_the_degrees_of_their_number() -> None:
    for size in (1.0, 7.0):
        parts = arm(DRAW.standard_normal(12), 1, np.full(12, size))
        twin = Arm(parts=-parts.parts, size=parts.size)
        assert spread_of(parts, twin).degrees == pytest.approx(22)


def test_uneven_clusters_have_fewer_degrees_and_right_errors() -> None:
    """Cluster means that vary alike: the variance is unbiased, whatever the sizes."""
    size = np.array([40.0, 20, *[2.0] * 10])
    found, true = [], []
    for _ in range(1500):
        means = DRAW.standard_normal((2, len(size)))
        done = spread_of(arm(means[0] * size, 1, size), arm(means[1] * size, -1, size))
        found.append(done.error**2)
        true.append(((means[0] - means[1]) @ size) / size.sum())
    assert np.mean(found) == pytest.approx(np.var(true), rel=0.12)
    assert done.degrees < 10


@pytest.mark.parametrize("law", ["lognormal", "ratio"])
def test_five_treated_of_a_skewed_metric_are_covered(law: str) -> None:
    covered = 0
    for _ in range(300):
        y = np.exp(DRAW.standard_normal(100))
        z = 1.0 + DRAW.poisson(2, 100) if law == "ratio" else np.ones(100)
        y = y * z
        done = spread_of(arm(y[:5], 1, z[:5]), arm(y[5:], -1, z[5:]))
        gap = y[:5].sum() / z[:5].sum() - y[5:].sum() / z[5:].sum()
        low, high = done.interval(gap, 1.96, 0.95)
        assert (done.p_value(gap) < 0.05) == (not low <= 0 <= high)
        covered += low <= 0 <= high
    assert covered / 300 == pytest.approx(0.95, abs=0.035)


def test_intervals_of_a_skewed_metric_hold_at_other_levels_and_fit_p_values() -> None:
    """Pareto's law of index 1.5, 20 treated of 120."""
    draw, levels = np.random.default_rng(0), np.array([0.5, 0.8, 0.9, 0.99])
    covered = []
    for _ in range(120):
        y = draw.pareto(1.5, 120)
        done, gap = spread(y[:20], y[20:]), float(y[:20].mean() - y[20:].mean())
        ends = [done.interval(gap, 1.96, level) for level in levels.tolist()]
        covered.append([low <= 0 <= high for low, high in ends])
        assert [done.p_value(gap) >= 1 - level for level in levels] == covered[-1]
    assert np.mean(covered, axis=0) == pytest.approx(levels, abs=0.09)


def test_what_half_of_all_assignments_bring_about_is_no_sign_of_an_effect() -> None:
    """None of 60 users bought, and 5 of 600: by chance alone that happens in 62 % of all."""
    none, five = np.zeros(60), (np.arange(600) < 5).astype(float)
    assert spread(none, five).p_value(-5 / 600) > 0.5


def test_the_order_of_the_units_and_the_unit_of_the_metric_play_no_part() -> None:
    one, two = np.exp(DRAW.standard_normal(8)), np.exp(DRAW.standard_normal(90))
    first, again = spread(one, two), spread(one[::-1], DRAW.permutation(two))
    assert [*again.above, *again.below] == pytest.approx([*first.above, *first.below])
    scaled = spread(1000 * one, 1000 * two)
    assert [*scaled.above, *scaled.below] == pytest.approx([*first.above, *first.below])
    assert min(first.above[-1], first.below[-1]) < 1 < max(first.above[-1], first.below[-1])


def test_large_even_arms_are_read_by_the_normal_law() -> None:
    done = spread(DRAW.standard_normal(400), DRAW.standard_normal(400))
    assert (done.degrees, {*done.above, *done.below}) == (math.inf, {1})
    assert done.interval(0, 1.96, 0.95)[1] == pytest.approx(1.96 * done.error)


def test_what_cannot_be_told_is_refused() -> None:
    size = np.array([900.0, *[5.0] * 20])
    big = arm(DRAW.standard_normal(21) * size, 1, size)
    fair = arm(DRAW.standard_normal(200), -1)
    with pytest.raises(InvalidValueError, match="one unit holds 90% of the treated arm; what"):
        spread_of(big, fair)
    with pytest.raises(InvalidValueError, match="2 treated and 8 control units are too few and"):
        spread(DRAW.standard_normal(2), DRAW.standard_normal(8))
    with pytest.raises(InvalidValueError, match="the units of neither arm differ"):
        spread(np.ones(5), np.ones(5))
    used = Arm(parts=DRAW.standard_normal(6), size=np.ones(6), used=5)
    with pytest.raises(InvalidValueError, match="more units than the covariates take, got 6"):
        spread_of(used, fair)


def rare(share: float) -> Spread:
    """Of 20 and 300 units, some share of which have events; 2 of the 20 at least."""
    draw = np.random.default_rng(3)
    events = (draw.random(320) < share).astype(float)
    events[:2] = 1
    values = events * draw.exponential(size=320)
    return spread_of(arm(values[:20], 1, events[:20]), arm(values[20:], -1, events[20:]))


def test_assignments_that_give_an_arm_no_event_are_left_out() -> None:
    found = rare(0.1)
    assert all(map(math.isfinite, [*found.above, *found.below]))


def test_events_that_most_assignments_give_to_one_arm_alone_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="must be above 0 in more units: most assignments"):
        rare(0.01)
