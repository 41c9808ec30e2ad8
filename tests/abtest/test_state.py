from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dfl.abtest import Contrast, Experiment
from dfl.abtest.base import AbstractEstimator
from dfl.abtest.huber import Huber
from dfl.abtest.mlrate import Mlrate
from dfl.abtest.simulators import ConstantShift, HeavyTailedCount, SparseEffect
from dfl.abtest.state import State
from dfl.abtest.winsorised import Winsorised
from dfl.errors import InvalidValueError, NotConvergedError, UnsupportedProblemError
from tests.abtest.data import G2, contrast


def test_golden_case() -> None:
    found = State(nu=4, rtol=1e-15).fit(G2)
    assert found.estimate == pytest.approx(1.0246417, abs=1e-6)
    assert found.standard_error == pytest.approx(0.1062087, abs=1e-6)
    assert found.diagnostics["sigma"] ** 2 == pytest.approx(0.03110721, abs=1e-7)
    assert found.diagnostics["check_difference"] == pytest.approx(1.0246417 - 4.6666667, abs=1e-6)
    fisher = State(nu=4, errors="fisher", rtol=1e-15).fit(G2)
    assert fisher.standard_error == pytest.approx(0.1204853, abs=1e-6)


def test_the_three_errors_agree_where_the_model_holds() -> None:
    data = contrast(2000, nu=10)
    found = {
        kind: State(errors=kind, draws=100).fit(data).standard_error  # type: ignore[arg-type]
        for kind in ("sandwich", "fisher", "bootstrap")
    }
    assert found["fisher"] == pytest.approx(found["sandwich"], rel=0.06)
    assert found["bootstrap"] == pytest.approx(found["sandwich"], rel=0.25)


def test_bootstrap_errors_of_clusters_draw_whole_clusters() -> None:
    single = contrast(300)
    rows = np.repeat(np.arange(300), 4)
    clustered = Contrast(
        treated=single.treated[rows],
        outcome=single.outcome[rows] + 0.01 * np.random.default_rng(0).standard_normal(1200),
        prediction=single.covariates[rows, 0],  # type: ignore[index]
        clusters=rows,
    )
    bootstrap = State(errors="bootstrap", draws=100)
    assert bootstrap.fit(clustered).standard_error == pytest.approx(
        bootstrap.fit(single).standard_error, rel=0.25
    )
    with pytest.raises(UnsupportedProblemError, match="errors='fisher' takes rows as independent"):
        State(errors="fisher").fit(clustered)


@pytest.mark.parametrize("nu", [0.7, "free"])
def test_gross_contamination_is_survived_from_a_robust_start(nu: Any) -> None:
    data = contrast(1000, effect=0.5)
    outcome = data.outcome.copy()
    outcome[:150] += 1e4
    found = State(nu=nu).fit(replace(data, outcome=outcome))
    assert found.estimate == pytest.approx(0.5, abs=0.4)


def test_many_rows_begin_at_a_sample_and_end_at_the_same_place() -> None:
    population = HeavyTailedCount().draw(420_000, generator=np.random.default_rng(0))
    draw = np.random.default_rng(1)
    treated = draw.random(420_000) < 0.5
    outcome = np.where(treated, population.outcome[1], population.outcome[0])
    many = Contrast(treated=treated, outcome=outcome, prediction=population.oracle)
    quick = State().fit(many)
    assert quick.diagnostics["iterations"] < 8
    thorough = State(rtol=1e-14).fit(many)
    assert quick.estimate == pytest.approx(thorough.estimate, abs=0.05 * thorough.standard_error)


def test_without_prediction_and_covariates_it_regresses_on_the_treatment() -> None:
    data = contrast(2000)
    bare = State().fit(Contrast(treated=data.treated, outcome=data.outcome))
    assert bare.estimate == pytest.approx(0.5, abs=4 * bare.standard_error)
    assert bare.standard_error > 1.5 * State().fit(data).standard_error


def test_outliers_cost_little_and_the_verdict_says_that_the_mean_agrees() -> None:
    draw = np.random.default_rng(3)
    population = HeavyTailedCount(outliers=0.01).draw(60_000, generator=draw)
    seen = population.experiment(20_000, generator=draw, prediction=population.oracle).contrast(1)
    state, mlrate = State().fit(seen), Mlrate().fit(seen)
    assert state.standard_error < 0.5 * mlrate.standard_error
    assert state.estimate == pytest.approx(population.bulk_effect, abs=4 * state.standard_error)
    assert "STATE measures the effect on the bulk of users" in state.caveat
    assert "No sign that it differs from the mean effect" in state.caveat


def test_a_sparse_effect_is_missed_and_the_verdict_says_so() -> None:
    draw = np.random.default_rng(0)
    population = SparseEffect().draw(60_000, generator=draw)
    seen = population.experiment(20_000, generator=draw, prediction=population.oracle).contrast(1)
    found = State().fit(seen)
    assert found.estimate < 0.8 * population.effect
    assert found.diagnostics["check_p_value"] < 0.001
    assert "It is NOT the mean effect" in found.caveat


def test_a_constant_shift_is_found_but_the_check_may_be_too_weak_to_tell() -> None:
    draw = np.random.default_rng(0)
    population = ConstantShift().draw(20_000, generator=draw)
    seen = population.experiment(20_000, generator=draw, prediction=population.oracle).contrast(1)
    found = State().fit(seen)
    assert found.estimate == pytest.approx(0.2, abs=4 * found.standard_error)
    assert "cannot be told" in found.caveat


def test_more_outliers_under_treatment_are_said() -> None:
    data = contrast(4000)
    outcome = data.outcome.copy()
    outcome[np.flatnonzero(data.treated)[:200]] += 300
    found = State().fit(replace(data, outcome=outcome))
    assert found.diagnostics["mean_weight_z"] < -3
    assert found.diagnostics["hardly_counted"] > 0.04
    assert "The treated arm has more outliers than the control" in found.caveat


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nu": -1}, "nu must be > 0 and finite, or 'free', got -1"),
        (
            {"errors": "robust"},
            "errors must be one of 'sandwich', 'fisher', 'bootstrap', got 'robust'",
        ),
        ({"errors": "bootstrap", "draws": 1}, "draws must be >= 2, got 1"),
        ({"nu": "wide"}, "nu must be > 0 and finite, or 'free', got 'wide'"),
        ({"max_iter": 0}, "max_iter must be >= 1, got 0"),
        ({"rtol": -1}, "rtol must be >= 0, got -1"),
        ({"rtol": float("nan")}, "rtol must be >= 0, got nan"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        State(**options)


@pytest.mark.parametrize("rows", [300, 9000])
def test_over_half_equal_values_are_refused(rows: int) -> None:
    data = contrast(rows)
    outcome = np.where(np.random.default_rng(0).random(rows) < 0.65, 0, data.outcome)
    message = (
        r"metric must not be the same in more than half of the rows for state, got 0 in [56]\d"
    )
    with pytest.raises(InvalidValueError, match=message):
        State().fit(replace(data, outcome=outcome))


def test_a_metric_that_copies_the_covariate_is_refused() -> None:
    data = contrast()
    with pytest.raises(InvalidValueError, match="metric must not be a copy of the covariates"):
        State().fit(replace(data, outcome=2 * data.covariates[:, 0] + 1))  # type: ignore[index]


def test_not_converging_is_an_error() -> None:
    with pytest.raises(NotConvergedError, match="did not converge in 2 steps"):
        State(max_iter=2).fit(contrast())


@pytest.mark.parametrize("turns", [2, 20])
def test_arms_that_take_turns_are_read_where_a_sample_of_the_rows_is_fitted_first(
    turns: int,
) -> None:
    rows = 600_000
    treatment = np.arange(rows) * 2 // turns % 2
    metric = 0.5 * treatment + np.random.default_rng(0).standard_t(3, size=rows)
    (effect,) = State().effects(Experiment(treatment=treatment, metric=metric))
    assert effect.estimate == pytest.approx(0.5, abs=0.02)


def test_draws_without_a_rare_value_of_the_prediction_go_without_it() -> None:
    data = contrast(60)
    rare = replace(data, prediction=(np.arange(60) < 2).astype(float))
    found = State(errors="bootstrap", draws=30).fit(rare)
    assert found.standard_error == pytest.approx(State().fit(rare).standard_error, rel=0.5)


@pytest.mark.parametrize("code", [9007199254740993, -(10**17), 1e30])
@pytest.mark.parametrize("estimator", [State(), Huber(), Winsorised(upper=0.99, lower=0.01)])
def test_a_code_of_any_size_for_a_missing_value_is_read(
    estimator: AbstractEstimator, code: float
) -> None:
    data = contrast(400)
    outcome = data.outcome.copy()
    outcome[7] = code
    found = estimator.fit(replace(data, outcome=outcome))
    assert found.estimate == pytest.approx(estimator.fit(data).estimate, abs=0.05)
    assert found.standard_error == pytest.approx(estimator.fit(data).standard_error, rel=0.1)
