"""What every registered estimator of experiments promises."""

import pickle
import pkgutil
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

import dfl.abtest
from dfl.abtest import ESTIMATORS, AbstractEstimator, Contrast, CrossFit, Experiment, aa_test
from tests.abtest.data import contrast, experiment

NAMES = ESTIMATORS.names()
LINEAR = CrossFit(regressor=LinearRegression())
# Its folds follow the order of the rows.
FOLDS = {"aipw"}
# Their slope is that of both arms together, as published, and moves a little with one arm.
POOLED = {"cuped", "cupac"}
# Its one cap for both arms is a quantile of what it reads, and moves with one arm.
CAPPED = {"winsorised"}


def make(name: str) -> AbstractEstimator:
    options: dict[str, Any] = {"aipw": {"cross_fit": LINEAR}, "state": {"rtol": 1e-14}}
    return ESTIMATORS.load(name)(**options.get(name, {}))


@pytest.mark.parametrize("name", NAMES)
def test_the_effect_of_everyone_is_found(name: str) -> None:
    found = make(name).fit(contrast(4000, effect=0.5))
    assert found.estimate == pytest.approx(0.5, abs=4 * found.standard_error)
    assert 0 < found.standard_error < 0.12
    assert found.influence.shape == (4000,)
    assert all(np.isfinite(value) for value in found.diagnostics.values())


@pytest.mark.parametrize("name", NAMES)
def test_intervals_and_p_values_fit_together(name: str) -> None:
    (effect,) = make(name).estimate(experiment(1000), level=0.9)
    assert effect.high - effect.low == pytest.approx(2 * 1.6449 * effect.standard_error, rel=1e-4)
    assert (effect.low + effect.high) / 2 == pytest.approx(effect.estimate)
    assert (effect.p_value < 0.1) == (effect.low > 0 or effect.high < 0)
    assert effect.verdict
    assert (effect.treated_rows, effect.control_rows) == (500, 500)


@pytest.mark.parametrize("name", sorted(set(NAMES) - CAPPED - POOLED))
def test_what_is_added_to_the_treated_is_added_to_the_estimate(name: str) -> None:
    data = contrast(600)
    shifted = replace(data, outcome=data.outcome + 7 * data.treated)
    first, second = make(name).fit(data), make(name).fit(shifted)
    assert second.estimate - first.estimate == pytest.approx(7, abs=1e-5)
    assert second.standard_error == pytest.approx(first.standard_error, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_unit_of_the_metric_is_that_of_the_estimate(name: str) -> None:
    data = contrast(600)
    first = make(name).fit(data)
    scaled = make(name).fit(replace(data, outcome=100 * data.outcome))
    assert scaled.estimate == pytest.approx(100 * first.estimate, rel=1e-6)
    assert scaled.standard_error == pytest.approx(100 * first.standard_error, rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_arms_can_be_swapped(name: str) -> None:
    data = contrast(600)
    first, swapped = make(name).fit(data), make(name).fit(replace(data, treated=~data.treated))
    assert swapped.estimate == pytest.approx(-first.estimate, rel=1e-6)
    assert swapped.standard_error == pytest.approx(first.standard_error, rel=1e-6)


@pytest.mark.parametrize("name", sorted(set(NAMES) - FOLDS))
def test_the_order_of_the_rows_plays_no_part(name: str) -> None:
    data = contrast(600)
    order = np.random.default_rng(1).permutation(600)
    columns = ("treated", "outcome", "covariates", "prediction")
    shuffled = Contrast(**{key: getattr(data, key)[order] for key in columns})
    assert make(name).fit(shuffled).estimate == pytest.approx(make(name).fit(data).estimate)


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_repeat_each_other_do_not_count_twice(name: str) -> None:
    data = contrast(600)
    rows = np.repeat(np.arange(600), 3)
    clustered = Contrast(
        treated=data.treated[rows],
        outcome=data.outcome[rows],
        covariates=data.covariates[rows],  # type: ignore[index]
        prediction=data.prediction[rows],  # type: ignore[index]
        clusters=rows,
    )
    first, found = make(name).fit(data), make(name).fit(clustered)
    assert found.standard_error == pytest.approx(first.standard_error, rel=0.05)
    assert found.estimate == pytest.approx(first.estimate, abs=0.2 * first.standard_error)


@pytest.mark.parametrize("name", NAMES)
def test_a_ratio_over_one_event_each_is_the_metric(name: str) -> None:
    (plain,) = make(name).estimate(experiment(600))
    (ratio,) = make(name).estimate(experiment(600, denominator=np.ones(600)))
    assert ratio.estimate == pytest.approx(plain.estimate)
    assert ratio.standard_error == pytest.approx(plain.standard_error)


@pytest.mark.parametrize("name", NAMES)
def test_the_effect_on_a_ratio_is_found_though_events_grow(name: str) -> None:
    draw = np.random.default_rng(3)
    treated = np.arange(6000) % 2
    x = draw.standard_normal(6000)
    events = draw.poisson(5 + treated, 6000) + 1.0
    money = events * (2 + 0.1 * treated + 0.3 * x) + draw.normal(0, 1, 6000)
    data = Experiment(treatment=treated, metric=money, denominator=events, covariates=x)
    (effect,) = make(name).estimate(data)
    assert effect.estimate == pytest.approx(0.1, abs=4 * effect.standard_error)
    assert effect.standard_error < 0.02
    assert effect.control_value == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_false_alarms_are_as_frequent_as_promised(name: str) -> None:
    data = experiment(1600)
    done = aa_test(replace(data, prediction=data.covariates[:, 0]), make(name), runs=150)  # type: ignore[index]
    assert done.low <= 0.05 <= done.high
    assert done.error_ratio == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("name", NAMES)
def test_three_arms_and_segments(name: str) -> None:
    data = experiment(900, treatment=np.resize([2, 1, 0], 900), segments=np.arange(900) % 2)
    assert [effect.arm for effect in make(name).estimate(data)] == ["1", "2"]
    for _, part in data.by_segment():
        assert [effect.treated_rows for effect in make(name).effects(part)] == [150, 150]


@pytest.mark.parametrize("name", NAMES)
def test_input_stays_and_the_answer_is_the_same_again(name: str) -> None:
    data, kept = contrast(), contrast()
    first, again = make(name).fit(data), make(name).fit(data)
    assert (first.estimate, first.standard_error) == (again.estimate, again.standard_error)
    for column in ("treated", "outcome", "covariates", "prediction"):
        assert (getattr(data, column) == getattr(kept, column)).all()


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_pickled_and_shown(name: str) -> None:
    estimator = make(name)
    copy = pickle.loads(pickle.dumps(estimator))
    assert copy.fit(contrast()).estimate == estimator.fit(contrast()).estimate
    assert repr(estimator).startswith(type(estimator).__name__ + "(")
    assert ESTIMATORS.name_of(type(estimator)) == name


def test_the_table_is_complete() -> None:
    found = set()
    for module in pkgutil.iter_modules(dfl.abtest.__path__, "dfl.abtest."):
        for member in vars(import_module(module.name)).values():
            if isinstance(member, type) and issubclass(member, AbstractEstimator):
                found.add(member)
    registered = {ESTIMATORS.load(name) for name in NAMES}
    assert found - {AbstractEstimator} == registered
