import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from dfl.abtest import Experiment, LeakWarning, check_experiment, find_leaks
from dfl.abtest.difference_in_means import DifferenceInMeans
from tests.abtest.data import experiment

DRAW = np.random.default_rng(5)
BASE = experiment(2000)
TREATED = BASE.treatment == 1
CLEAN = DRAW.standard_normal(2000)


def test_a_covariate_that_the_treatment_moved_is_named() -> None:
    leaky = experiment(
        2000, covariates=np.stack([CLEAN, CLEAN + TREATED], axis=1), names=("age", "visits")
    )
    (leak,) = find_leaks(leaky)
    assert (leak.column, leak.arm) == ("visits", "1")
    assert leak.difference == pytest.approx(0.9, abs=0.15)
    with pytest.warns(LeakWarning, match=r"visits \(1: \+0\.\d\d sd, p = .*Measured after"):
        DifferenceInMeans().estimate(leaky)


def test_a_covariate_whose_spread_changed_is_found() -> None:
    spread = experiment(2000, covariates=np.where(TREATED, 2 * CLEAN, CLEAN))
    assert [leak.column for leak in find_leaks(spread)] == ["covariate 0"]


def test_a_covariate_that_is_the_treatment_is_found() -> None:
    (leak,) = find_leaks(experiment(2000, covariates=TREATED.astype(float)))
    assert (leak.p_value, leak.difference) == (0, pytest.approx(2))


def test_predictions_and_segments_are_looked_at() -> None:
    leaky = experiment(
        2000,
        prediction=CLEAN + TREATED,
        segments=np.where(TREATED & (CLEAN > 0), "active", "idle"),
    )
    assert [leak.column for leak in find_leaks(leaky)] == ["segments", "prediction"]


def test_sound_experiments_are_left_in_peace() -> None:
    covariates = np.stack([CLEAN, np.ones(2000), np.round(CLEAN)], axis=1)
    sound = experiment(2000, covariates=covariates, segments=CLEAN > 0)
    assert find_leaks(sound) == ()
    assert find_leaks(experiment(2000, covariates=covariates, segments=np.ones(2000))) == ()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_experiment(sound)


def test_rows_of_a_cluster_count_once() -> None:
    """Everyone has 100 rows: what looks like a large difference is that of 20 people."""
    user = np.arange(2000) // 100
    arms = user % 2
    covariate = np.random.default_rng(1).standard_normal(20)[user]
    columns = {"treatment": arms, "covariates": covariate}
    assert [leak.column for leak in find_leaks(experiment(2000, **columns))] == ["covariate 0"]
    assert find_leaks(experiment(2000, **columns, clusters=user)) == ()


def plain(draw: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return draw.standard_normal(shape)


def money(draw: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.exp(2 * draw.standard_normal(shape))


def rare(draw: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return (draw.random(shape) < 1e-3).astype(float)


@pytest.mark.parametrize("law", [plain, money, rare])
@pytest.mark.parametrize("sizes", [(2, 2), (5, 5), (10, 10), (30, 3000), (2, 500)])
def test_sound_small_and_uneven_experiments_are_left_in_peace(
    law: Callable[[np.random.Generator, tuple[int, int]], np.ndarray], sizes: tuple[int, int]
) -> None:
    draw, rows = np.random.default_rng(0), sum(sizes)
    treatment = (np.arange(rows) < sizes[0]).astype(int)
    for _ in range(60):
        sound = Experiment(
            treatment=treatment, metric=draw.normal(size=rows), covariates=law(draw, (rows, 3))
        )
        assert find_leaks(sound) == ()


def test_rare_segments_are_no_alarm() -> None:
    """Thirty treated, a segment of two users, one of them treated: 1 in 50 experiments."""
    treatment = (np.arange(3000) < 30).astype(int)
    segments = np.where(np.isin(np.arange(3000), [0, 1000]), "rare", "common")
    sound = Experiment(
        treatment=treatment, metric=np.random.default_rng(0).normal(size=3000), segments=segments
    )
    assert find_leaks(sound) == ()
    both = replace(sound, segments=np.where(np.arange(3000) < 20, "rare", "common"))
    assert [leak.column for leak in find_leaks(both)] == ["segments"]


def test_a_leak_in_few_units_is_still_found() -> None:
    treatment = (np.arange(60) < 20).astype(int)
    draw = np.random.default_rng(1)
    leaky = Experiment(
        treatment=treatment,
        metric=draw.normal(size=60),
        covariates=draw.normal(size=60) + 3 * treatment,
    )
    assert [leak.column for leak in find_leaks(leaky)] == ["covariate 0"]
