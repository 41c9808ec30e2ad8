import numpy as np
import pytest
from scipy import stats

from dfl.abtest.simulators import (
    AbstractDesign,
    ConstantShift,
    HeavyTailedCount,
    HeavyTailedRatio,
    MultiplicativeSpend,
    SparseEffect,
)
from dfl.errors import InvalidValueError

DESIGNS = [
    HeavyTailedCount(),
    HeavyTailedRatio(),
    SparseEffect(),
    MultiplicativeSpend(),
    ConstantShift(),
]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("design", DESIGNS, ids=lambda one: type(one).__name__)
def test_the_seed_decides_and_the_truth_is_that_of_the_outcomes(design: AbstractDesign) -> None:
    population = design.draw(100_000, generator=rng())
    again = design.draw(100_000, generator=rng())
    assert (population.outcome[1] == again.outcome[1]).all()
    if population.denominator is None:
        gap = population.outcome[1] - population.outcome[0]
        error = float(gap.std()) / 100_000**0.5
        assert population.effect == pytest.approx(float(gap.mean()), abs=4 * error)
    assert np.corrcoef(population.oracle, population.label)[0, 1] > 0.05
    seen = population.experiment(5000, generator=rng(1), prediction=population.oracle)
    assert len(seen) == 5000
    assert seen.treatment.mean() == pytest.approx(0.5, abs=0.03)
    assert seen.prediction is not None
    assert np.unique(seen.prediction).size > 4900


def test_the_published_design() -> None:
    population = HeavyTailedCount().draw(200_000, generator=rng())
    assert population.effect == pytest.approx(15.752, abs=0.06)
    assert population.bulk_effect == pytest.approx(15.784, abs=0.06)
    assert population.effect == pytest.approx(population.bulk_effect * 0.998, rel=1e-3)
    assert population.outlier.mean() == pytest.approx(0.002)
    spread = population.outcome[1][~population.outlier].std()
    far = population.outcome[0][population.outlier].min() - population.outcome[1].mean()
    assert far > 3.5 * spread
    clean = HeavyTailedCount(outliers=0).draw(1000, generator=rng())
    assert not clean.outlier.any()


def test_noise_and_outliers_are_those_of_the_published_design() -> None:
    population = HeavyTailedCount(outliers=0.1).draw(200_000, generator=rng())
    far, mean = population.outlier, population.oracle
    for outcome, lift in zip(population.outcome, (0, population.lift), strict=True):
        assert (outcome - mean - lift)[~far].std() == pytest.approx(25, rel=0.01)
        spread = (mean + population.lift)[~far].std() ** 2 + 25**2
        above = (outcome[far] - (mean + population.lift)[~far].mean()) / spread**0.5
        assert (above.min(), above.max()) == pytest.approx((4, 20), abs=0.3)
        assert (outcome[far] == outcome[far].round()).all()
    assert abs(np.corrcoef(population.outcome[0][far], population.outcome[1][far])[0, 1]) < 0.03
    assert abs(np.corrcoef(population.outcome[0][far], mean[far])[0, 1]) < 0.03


def test_ratios() -> None:
    population = HeavyTailedRatio().draw(200_000, generator=rng())
    assert population.denominator is not None
    assert population.denominator[0].min() >= 1
    assert population.effect == pytest.approx(0.029, abs=0.002)
    assert population.outlier.mean() == pytest.approx(0.004)


def test_where_state_fails_and_what_it_is_made_for() -> None:
    sparse = SparseEffect().draw(200_000, generator=rng())
    assert (sparse.lift != 0).mean() == pytest.approx(0.1, abs=0.01)
    assert sparse.effect == pytest.approx(7.57, abs=0.15)
    shift = ConstantShift().draw(200_000, generator=rng())
    for outcome, more in zip(shift.outcome, (0, 0.2), strict=True):
        assert stats.kstest((outcome - shift.oracle - more) / 2, "t", (2.5,)).pvalue > 0.01
    spend = MultiplicativeSpend().draw(200_000, generator=rng())
    assert (spend.outcome[0] == 0).mean() == pytest.approx(0.4, abs=0.01)
    assert spend.effect == pytest.approx(1.28, abs=0.05)


def test_mistakes() -> None:
    with pytest.raises(InvalidValueError, match=r"share of outliers must be in \[0, 1\), got 1"):
        HeavyTailedCount(outliers=1)
    with pytest.raises(InvalidValueError, match=r"rows must be in \[1, 100\], got 101"):
        ConstantShift().draw(100, generator=rng()).experiment(101, generator=rng())
    with pytest.raises(InvalidValueError, match=r"rows must be a whole number >= 1, got 2.0"):
        ConstantShift().draw(100, generator=rng()).experiment(2.0, generator=rng())  # type: ignore[arg-type]


@pytest.mark.parametrize("design", DESIGNS, ids=lambda one: type(one).__name__)
def test_there_must_be_people(design: AbstractDesign) -> None:
    with pytest.raises(InvalidValueError, match="people must be >= 1, got 0"):
        design.draw(0, generator=rng())
