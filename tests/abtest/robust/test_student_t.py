import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from dfl.abtest import TParameters, fit_t_regression
from dfl.abtest.robust.student_t import _expectation, _maximisation, solve_nu
from dfl.errors import InvalidValueError, NotConvergedError, ShapeError
from tests.abtest.data import G2

G1 = np.array([1.2, 0.7, 1.9, 1.4, 0.3, 1.1, 1.6, 0.9, 1.3, 14.0])
LOCATION = np.ones((10, 1))
DESIGN = np.stack([np.ones(12), G2.indicator, np.tile(np.arange(1.0, 7), 2)], axis=1)


def test_golden_location_and_scale_with_nu_3() -> None:
    found = fit_t_regression(LOCATION, G1, nu=3, rtol=1e-15)
    assert found.parameters.coefficients == pytest.approx([1.1863498], abs=1e-6)
    assert found.parameters.variance == pytest.approx(0.2550655, abs=1e-6)
    assert found.log_likelihood == pytest.approx(-17.6726018303, abs=1e-9)
    golden = [1.333009, 1.018497, 0.800524, 1.258273, 0.657889]
    golden += [1.320466, 1.089671, 1.204286, 1.311201, 0.006185]
    assert found.weights(LOCATION, G1) == pytest.approx(golden, abs=2e-6)


def test_golden_location_and_scale_with_free_nu() -> None:
    found = fit_t_regression(LOCATION, G1, nu="free")
    assert found.parameters.coefficients == pytest.approx([1.21331], abs=1e-4)
    assert math.sqrt(found.parameters.variance) == pytest.approx(0.29544, abs=1e-4)
    assert found.parameters.nu == pytest.approx(0.88092, abs=1e-3)
    assert found.log_likelihood == pytest.approx(-14.66405295, abs=1e-7)


def test_golden_sample_agrees_with_scipy() -> None:
    draw = np.random.default_rng(20240725)
    sample = stats.t.rvs(4, loc=3, scale=2, size=2000, random_state=draw)
    assert sample[:3] == pytest.approx([2.98517643, -1.00743042, 0.04196896])
    found = fit_t_regression(np.ones((2000, 1)), sample, nu="free")
    scale = math.sqrt(found.parameters.variance)
    assert found.parameters.nu == pytest.approx(4.4217, abs=1e-3)
    assert (float(found.parameters.coefficients[0]), scale) == pytest.approx(
        (2.905119, 2.012654), abs=1e-4
    )
    assert found.log_likelihood == pytest.approx(-4710.5167295, abs=1e-5)
    nu, loc, peer_scale = stats.t.fit(sample)
    assert nu == pytest.approx(found.parameters.nu, rel=1e-3)
    assert (loc, peer_scale) == pytest.approx(
        (float(found.parameters.coefficients[0]), scale), rel=1e-4
    )


@pytest.mark.parametrize(
    ("mean_excess", "nu"), [(-1.25, 4.30369288), (-1.10, 10.32175101), (-1.05, 20.32764458)]
)
def test_golden_roots_for_nu(mean_excess: float, nu: float) -> None:
    assert solve_nu(mean_excess) == pytest.approx(nu, abs=1e-7)


def test_nu_stays_in_its_range() -> None:
    assert solve_nu(-1.0000001) == 1e4
    assert solve_nu(-100.0) == 0.05


def test_golden_regression() -> None:
    found = fit_t_regression(DESIGN, G2.outcome, nu=4, rtol=1e-15)
    assert found.parameters.coefficients == pytest.approx(
        [1.0416653, 1.0246417, 0.9945897], abs=1e-6
    )
    assert found.parameters.variance == pytest.approx(0.03110721, abs=1e-7)
    assert found.log_likelihood == pytest.approx(-15.7989030598, abs=1e-9)
    assert found.weights(DESIGN, G2.outcome)[-1] == pytest.approx(0.00032226, abs=1e-8)


def test_golden_normal_limit_is_least_squares() -> None:
    found = fit_t_regression(DESIGN, G2.outcome, nu=1e9)
    assert found.parameters.coefficients == pytest.approx([-4.443333, 4.666667, 2.56], abs=1e-5)
    assert found.parameters.variance == pytest.approx(26.47339, abs=1e-5)


def test_golden_single_step() -> None:
    start = TParameters(np.ones(3), 1.0, 10.0)
    rows = np.ascontiguousarray(DESIGN.T)
    residual = G2.outcome - DESIGN.sum(axis=1)
    assert (11 / (10 + residual**2))[-1] == pytest.approx(0.0222672065)
    step = _maximisation(_expectation(rows, G2.outcome, start), start, free=False)
    assert step.coefficients == pytest.approx([0.8921616, 1.1100475, 1.0355726], abs=1e-7)
    assert step.variance == pytest.approx(0.9129812704, abs=1e-9)


def elbo(design: Any, outcome: Any, at: TParameters) -> float:
    """The bound term by term: expected log-likelihood, prior, and entropy."""
    nu, variance = at.nu, at.variance
    residual = outcome - design @ at.coefficients
    shape, rate = (nu + 1) / 2, nu / 2 + residual**2 / (2 * variance)
    mean, log_mean = shape / rate, special.digamma(shape) - np.log(rate)
    fit = -0.5 * np.log(2 * np.pi * variance) + 0.5 * log_mean - mean * residual**2 / (2 * variance)
    prior = nu / 2 * np.log(nu / 2) - special.gammaln(nu / 2) + (nu / 2 - 1) * log_mean
    prior -= nu / 2 * mean
    entropy = shape * np.log(rate) - special.gammaln(shape) + (shape - 1) * log_mean - shape
    return float((fit + prior - entropy).sum())


def test_the_bound_is_tight_and_adds_up_term_by_term() -> None:
    found = fit_t_regression(DESIGN, G2.outcome, nu=4)
    at = found.parameters
    assert found.log_likelihood == pytest.approx(elbo(DESIGN, G2.outcome, at), abs=1e-10)
    density = stats.t.logpdf(
        G2.outcome, at.nu, loc=DESIGN @ at.coefficients, scale=math.sqrt(at.variance)
    )
    assert found.log_likelihood == pytest.approx(float(density.sum()), abs=1e-10)


@given(
    seed=st.integers(0, 10_000),
    nu=st.sampled_from([0.5, 1.0, 4.0, 10.0, 100.0, "free"]),
    outliers=st.integers(0, 10),
)
def test_the_bound_never_decreases(seed: int, nu: Any, outliers: int) -> None:
    draw = np.random.default_rng(seed)
    design = np.stack([np.ones(60), draw.random(60) < 0.5, draw.standard_normal(60)], axis=1)
    outcome = design @ draw.standard_normal(3) + draw.standard_normal(60)
    outcome[:outliers] += draw.uniform(5, 500, outliers)
    found = fit_t_regression(design, outcome, nu=nu, rtol=1e-8, max_iter=5000)
    rises = np.diff(found.elbo)
    assert (rises >= -1e-9 * (1 + np.abs(found.elbo[1:]))).all()


@given(seed=st.integers(0, 10_000), shift=st.floats(-50, 50), scale=st.floats(0.01, 100))
def test_shift_of_the_treated_and_scale(seed: int, shift: float, scale: float) -> None:
    draw = np.random.default_rng(seed)
    treated = np.arange(50) % 2
    design = np.stack([np.ones(50), treated, draw.standard_normal(50)], axis=1)
    outcome = design.sum(axis=1) + draw.standard_t(2, 50)
    options: dict[str, Any] = {"nu": 5.0, "rtol": 1e-15}
    plain = fit_t_regression(design, outcome, **options)
    shifted = fit_t_regression(design, outcome + shift * treated, **options)
    moved = shifted.parameters.coefficients - plain.parameters.coefficients
    assert moved == pytest.approx([0, shift, 0], abs=1e-5)
    scaled = fit_t_regression(design, scale * outcome, **options)
    assert scaled.parameters.coefficients == pytest.approx(
        scale * plain.parameters.coefficients, rel=1e-4, abs=1e-5 * scale
    )
    assert scaled.parameters.variance == pytest.approx(
        scale**2 * plain.parameters.variance, rel=1e-4
    )
    weights = plain.weights(design, outcome)
    assert scaled.weights(design, scale * outcome) == pytest.approx(weights, rel=1e-4)


def test_many_rows_are_read_in_parts() -> None:
    draw = np.random.default_rng(0)
    design = np.stack([np.ones(40_000), draw.standard_normal(40_000)], axis=1)
    outcome = design.sum(axis=1) + draw.standard_t(4, 40_000)
    found = fit_t_regression(design, outcome, nu=4)
    likelihood = stats.t.logpdf(
        outcome - design @ found.parameters.coefficients, 4, scale=found.parameters.variance**0.5
    )
    assert found.log_likelihood == pytest.approx(float(likelihood.sum()), rel=1e-12)


def test_an_outlier_beyond_all_measure_is_no_overflow() -> None:
    outcome = np.append(np.random.default_rng(0).standard_normal(99), 1e150)
    start = TParameters(np.zeros(1), 1.0, 2.0)
    found = fit_t_regression(np.ones((100, 1)), outcome, nu=2, start=start)
    assert abs(float(found.parameters.coefficients[0])) < 0.5


@pytest.mark.parametrize("code", [2.0**31 - 1, 1e12])
def test_an_outlier_that_moves_the_residuals_of_half_the_rows_is_no_collapse(code: float) -> None:
    draw = np.random.default_rng(1)
    design = np.stack([np.ones(200), np.arange(200) % 2], axis=1)
    outcome = draw.standard_normal(200) + design[:, 1]
    least, most = (np.append(outcome[:-1], one) for one in (100.0, code))
    found, wanted = (fit_t_regression(design, one).parameters for one in (most, least))
    assert found.coefficients == pytest.approx(wanted.coefficients, abs=0.01)


def test_mistakes() -> None:
    with pytest.raises(ShapeError, match=r"design must be \(10, k\), got \(9, 1\)"):
        fit_t_regression(np.ones((9, 1)), G1)
    with pytest.raises(InvalidValueError, match="nu must be > 0 and finite, or 'free', got 0"):
        fit_t_regression(LOCATION, G1, nu=0)
    with pytest.raises(InvalidValueError, match="max_iter must be >= 1, got 0"):
        fit_t_regression(LOCATION, G1, max_iter=0)
    with pytest.raises(InvalidValueError, match="regressors must not depend on each other"):
        fit_t_regression(np.ones((10, 2)), G1)
    with pytest.raises(InvalidValueError, match="scale of the Student-t errors collapses to 0"):
        fit_t_regression(LOCATION, np.array([0.0] * 9 + [1]), nu=1)
    with pytest.raises(NotConvergedError, match="Raise max_iter or rtol, or fix nu"):
        fit_t_regression(LOCATION, G1, nu="free", max_iter=3)
