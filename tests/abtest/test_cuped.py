from dataclasses import replace

import numpy as np
import pytest

from dfl.abtest.cupac import Cupac
from dfl.abtest.cuped import Cuped, Slopes, arms_of, cuped_adjust
from dfl.abtest.difference_in_means import DifferenceInMeans
from dfl.abtest.mlrate import Mlrate
from dfl.abtest.rows.experiment import Experiment
from dfl.errors import InvalidValueError
from dfl.stats.moments import Moments
from tests.abtest.data import contrast


def test_golden_identity() -> None:
    x, y = np.arange(1.0, 9), np.array([2.0, 1, 4, 3, 7, 5, 8, 6])
    adjusted, slopes = cuped_adjust(y, x[:, None], arms_of(y, x[:, None], np.zeros(8, bool)))
    assert slopes.explained == pytest.approx(1 - 0.3055556, abs=1e-7)
    assert slopes.theta == pytest.approx([0.8333333], abs=1e-7)
    assert adjusted.var() / y.var() == pytest.approx(0.3055556, abs=1e-7)
    assert adjusted.var() / y.var() == pytest.approx(1 - np.corrcoef(x, y)[0, 1] ** 2)
    assert adjusted.mean() == pytest.approx(4.5)


def test_the_variance_falls_by_what_is_explained() -> None:
    data = contrast(2000)
    plain, adjusted = DifferenceInMeans().fit(data), Cuped().fit(data)
    explained = adjusted.diagnostics["explained_variance"]
    assert explained > 0.4
    assert adjusted.standard_error == pytest.approx(
        plain.standard_error * (1 - explained) ** 0.5, rel=0.02
    )
    assert adjusted.diagnostics["theta"] == pytest.approx(2, abs=0.2)


def test_the_estimate_is_the_coefficient_of_the_treatment() -> None:
    draw = np.random.default_rng(0)
    treatment, x = draw.permutation(np.arange(30) % 2), draw.normal(size=(30, 8))
    y = x[:, 0] + draw.normal(size=30) + 3 * treatment
    (found,) = Cuped().effects(Experiment(treatment=treatment, metric=y, covariates=x))
    design = np.column_stack([np.ones(30), treatment, x])
    truth = np.linalg.lstsq(design, y, rcond=None)[0][1]
    assert found.estimate == pytest.approx(truth)


def test_chance_differences_of_many_covariates_do_not_shrink_the_effect() -> None:
    draw, estimates, held = np.random.default_rng(1), [], []
    for _ in range(200):
        treatment, x = draw.permutation(np.arange(40) % 2), draw.normal(size=(40, 10))
        y = x[:, 0] + draw.normal(size=40) + 3 * treatment
        (found,) = Cuped().effects(Experiment(treatment=treatment, metric=y, covariates=x))
        estimates.append(found.estimate)
        held.append(found.low <= 3 <= found.high)
    assert np.mean(estimates) == pytest.approx(3, abs=0.1)
    assert np.mean(held) > 0.91


@pytest.mark.parametrize("offset", [0.0, 1.0, 1_000.0, -1e6])
def test_a_covariate_that_is_the_metric_in_another_unit_is_refused(offset: float) -> None:
    data = contrast()
    copy = replace(data, covariates=(0.3 * data.outcome + offset)[:, None])
    with pytest.raises(InvalidValueError, match="a covariate may be a copy of the metric"):
        Cuped().fit(copy)


def test_a_covariate_that_is_constant_but_for_rounding_takes_no_part() -> None:
    data = contrast()
    flat = np.full((400, 1), 0.1)
    flat[::3] = np.nextafter(0.1, 1)
    with pytest.raises(InvalidValueError, match="covariates must vary, each is the same in all"):
        Cuped().fit(replace(data, covariates=flat))
    both = replace(data, covariates=np.hstack([flat, data.covariates]))  # type: ignore[list-item]
    assert Cuped().fit(both).estimate == pytest.approx(Cuped().fit(data).estimate, rel=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_sums_are_those_of_each_arm(offset: float) -> None:
    data = contrast(5_000)
    covariates = np.hstack([data.covariates, offset + data.outcome[:, None] ** 2])  # type: ignore[list-item]
    columns = np.column_stack([data.outcome, covariates])
    for arm, found in enumerate(arms_of(data.outcome, covariates, data.treated)):
        own = columns[data.treated == arm]
        assert found.rows == len(own)
        np.testing.assert_allclose(found.mean, own.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(
            found.products, np.cov(own.T, ddof=0) * len(own), rtol=1e-9, atol=1e-9
        )


def test_a_covariate_that_is_the_treatment_takes_no_part() -> None:
    data = contrast()
    told = data.treated[:, None] * 3.7 + 0.1
    with pytest.raises(InvalidValueError, match="covariates must vary, each is the same in all"):
        Cuped().fit(replace(data, covariates=told))
    both = replace(data, covariates=np.hstack([told, data.covariates]))  # type: ignore[list-item]
    assert Cuped().fit(both).estimate == pytest.approx(Cuped().fit(data).estimate, rel=1e-9)


def test_columns_are_chosen_and_repeated_ones_do_no_harm() -> None:
    data = contrast()
    noise = np.random.default_rng(1).standard_normal((400, 1))
    wide = replace(data, covariates=np.hstack([noise, data.covariates, data.covariates]))  # type: ignore[list-item]
    assert Cuped(columns=(1,)).fit(wide).estimate == pytest.approx(Cuped().fit(data).estimate)
    assert Cuped(columns=(1, 2)).fit(wide).estimate == pytest.approx(Cuped().fit(data).estimate)


def test_cupac_is_cuped_on_the_prediction() -> None:
    data = contrast()
    assert Cupac().fit(replace(data, covariates=None)).estimate == pytest.approx(
        Cuped().fit(data).estimate
    )


def test_mistakes() -> None:
    data = contrast()
    with pytest.raises(InvalidValueError, match="cuped needs covariates"):
        Cuped().fit(replace(data, covariates=None))
    with pytest.raises(InvalidValueError, match=r"columns must be positions below 1, got \(1,\)"):
        Cuped(columns=(1,)).fit(data)
    with pytest.raises(InvalidValueError, match=r"columns must be a whole number >= 0, got 0\.5"):
        Cuped(columns=(0.5,))  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match=r"columns must be >= 0, got -1"):
        Cuped(columns=(-1,))
    with pytest.raises(InvalidValueError, match=r"linearisation must be one of .* got 'bogus'"):
        Cuped(linearisation="bogus")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="covariates must vary"):
        Cuped().fit(replace(data, covariates=np.ones((400, 2))))
    with pytest.raises(InvalidValueError, match="cupac needs covariates, or a prediction"):
        Cupac().fit(replace(data, covariates=None, prediction=None))
    with pytest.raises(InvalidValueError, match="prediction must vary, got 2 for every row"):
        Cupac().fit(replace(data, prediction=np.full(400, 2.0)))


def test_errors_of_many_units_make_up_for_many_covariates() -> None:
    draw, rows = np.random.default_rng(0), 10_002
    treatment, x = draw.permutation(np.arange(rows) % 2), draw.normal(size=(rows, 200))
    y = x[:, 0] + draw.normal(size=rows)
    (found,) = Cuped().effects(Experiment(treatment=treatment, metric=y, covariates=x))
    design = np.column_stack([np.ones(rows), treatment, x])
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    variance = residual @ residual / (rows - 202) * np.linalg.inv(design.T @ design)[1, 1]
    assert found.standard_error == pytest.approx(variance**0.5, rel=1e-6)
    few = treatment.nonzero()[0][1:]  # 5,000 units of an arm are corrected one by one
    kept = np.sort(np.concatenate([few, np.flatnonzero(treatment == 0)]))
    (exact,) = Cuped().effects(
        Experiment(treatment=treatment[kept], metric=y[kept], covariates=x[kept])
    )
    assert found.standard_error == pytest.approx(exact.standard_error, rel=5e-3)


@pytest.mark.parametrize("unit", [1e160, 1e-170])
def test_covariates_and_predictions_beyond_squares_are_refused(unit: float) -> None:
    data = contrast()
    assert data.covariates is not None
    with pytest.raises(
        InvalidValueError, match=r"covariates must vary by 1e-70 to 1e\+70, or squa"
    ):
        Cuped().fit(replace(data, covariates=data.covariates * unit))
    for estimator in (Cupac(), Mlrate()):
        with pytest.raises(InvalidValueError, match="prediction must vary by 1e-70 to"):
            estimator.fit(replace(data, prediction=data.covariates[:, 0] * unit))


def test_sums_of_squares_that_are_no_numbers_have_no_slopes() -> None:
    arm = Moments(9, np.zeros(2), np.full((2, 2), np.inf))
    with pytest.raises(InvalidValueError, match="squares cannot be computed, got inf; give them"):
        Slopes.of([arm, arm])
