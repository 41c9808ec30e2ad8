import sys
from dataclasses import replace

import numpy as np
import pytest

from dfl.abtest import Contrast, Fit, aa_test
from dfl.abtest.checks.aa import splits
from dfl.abtest.difference_in_means import DifferenceInMeans
from dfl.abtest.mlrate import Mlrate
from dfl.errors import InvalidValueError
from dfl.scale import Chunks
from tests.abtest.data import Stubborn, experiment


def test_sound_errors_pass_though_the_treatment_works() -> None:
    data = experiment(800)
    data = replace(data, prediction=data.covariates[:, 0], metric=data.metric + 5 * data.treatment)  # type: ignore[index]
    found = aa_test(data, Mlrate(), runs=200)
    assert found.low <= 0.05 <= found.high
    assert found.error_ratio == pytest.approx(1, abs=0.12)
    assert "No sign that the errors are wrong on this metric" in found.verdict


def test_errors_that_are_too_small_are_caught() -> None:
    found = aa_test(experiment(), Stubborn(error_given=0.1, estimate_given=1.0), runs=20, level=0.9)
    assert found.false_positive_rate == 1
    assert "20 of 20 random splits" in found.verdict
    assert "Too many: do not trust these errors" in found.verdict


def test_errors_that_are_too_large_are_said() -> None:
    found = aa_test(experiment(), Stubborn(error_given=9, estimate_given=1.0), runs=200)
    assert "Too few: the errors are too large" in found.verdict


def test_rows_of_a_cluster_stay_together() -> None:
    user = np.arange(800) // 20
    noise = 3 * np.random.default_rng(0).standard_normal(40)[user]
    base = experiment(800)
    clustered = experiment(800, treatment=user % 2, clusters=user, metric=base.metric + noise)
    ignored = replace(clustered, clusters=None)
    assert aa_test(clustered, DifferenceInMeans(), runs=100).false_positive_rate < 0.2
    by_row = aa_test(ignored, DifferenceInMeans(), runs=100)
    assert by_row.error_ratio == pytest.approx(1, abs=0.2)  # rows drawn apart are no test of it


def test_splits_are_as_uneven_as_the_experiment() -> None:
    """3 of 103 clusters are treated: halves of the control would be another experiment."""
    clusters = np.repeat(np.arange(103), 4)
    few = (clusters < 3).astype(int)
    sizes: list[int] = []

    class Counting(Stubborn):  # type: ignore[misc]  # final, but this is a spy
        def fit(self, contrast: Contrast) -> Fit:
            sizes.append(contrast.treated_units)
            return super().fit(contrast)

    base = experiment(412, treatment=few, clusters=clusters, shares={0: 100, 1: 3})
    aa_test(base, Counting(), runs=3)
    assert sizes == [3, 3, 3]
    aa_test(experiment(40), Counting(), runs=1 + 1)
    assert sizes[3:] == [10, 10]


@pytest.mark.parametrize("dealt", [1, 3, 10, 50])
def test_every_choice_of_units_is_as_likely_however_they_are_cut(
    dealt: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[splits.__module__], "_DEALT", Chunks(dealt))
    found = np.array([np.concatenate([*one]) for one in splits(10, 4, runs=6_000, seed=0)])
    assert set(found.sum(axis=1).tolist()) == {3}  # 10 * 4 / 14
    assert found.mean(axis=0) == pytest.approx(np.full(10, 0.3), abs=0.03)
    both = (found[:, :, None] & found[:, None, :]).mean(axis=0)
    assert both[np.triu_indices(10, 1)] == pytest.approx(np.full(45, 6 / 90), abs=0.02)


def test_the_seed_decides() -> None:
    first, again = (aa_test(experiment(), DifferenceInMeans(), runs=20, seed=3) for _ in range(2))
    assert first == again
    assert first != aa_test(experiment(), DifferenceInMeans(), runs=20, seed=4)


def test_mistakes() -> None:
    with pytest.raises(InvalidValueError, match="runs must be >= 2, got 1"):
        aa_test(experiment(), DifferenceInMeans(), runs=1)
    few = experiment(8, control=0, treatment=np.array([0, 0, 0, 1, 1, 1, 1, 1]))
    with pytest.raises(InvalidValueError, match="needs 4 to 999,999,999 control units, got 3"):
        aa_test(few, DifferenceInMeans())


def test_estimates_that_are_all_the_same_have_no_true_error() -> None:
    metric = (np.arange(100) < 1).astype(float)
    data = experiment(100, metric=metric, treatment=np.arange(100) % 2)
    found = [aa_test(data, DifferenceInMeans(), runs=2, seed=seed) for seed in range(6)]
    assert {one.error_ratio is None for one in found} == {True, False}


def test_splits_that_cannot_be_read_are_counted_apart() -> None:
    orders = (np.arange(100) < 16).astype(float)
    data = experiment(100, metric=orders * np.arange(100), denominator=orders)
    found = aa_test(replace(data, treatment=np.arange(100) % 2), DifferenceInMeans(), runs=100)
    assert 0 < found.refused < 50
    assert found.runs + found.refused == 100
    assert f"{found.refused} more could not be read, the first because" in found.verdict
