"""Studies the estimators of experiments on STATE's own simulation, and where STATE fails.

``OMP_NUM_THREADS=1 python -m benchmarks.abtest_study`` runs what ``results/abtest_study.json`` does
not hold yet: 1,000 runs of every setting, 100 on each of 10 populations of 200,000 people, 20,000
people a run. It writes after each population, so a stopped study goes on where it was;
``--minutes`` stops it by itself. ``--report`` writes the tables and the plot into ``docs/``, from
the file alone.
"""

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression

from benchmarks.abtest_report import write_report
from dfl.abtest import AbstractEstimator, CrossFit, Fit
from dfl.abtest.aipw import Aipw
from dfl.abtest.cupac import Cupac
from dfl.abtest.cuped import Cuped
from dfl.abtest.difference_in_means import DifferenceInMeans
from dfl.abtest.huber import Huber
from dfl.abtest.mlrate import Mlrate
from dfl.abtest.simulators import (
    AbstractDesign,
    ConstantShift,
    HeavyTailedCount,
    HeavyTailedRatio,
    MultiplicativeSpend,
    Population,
    SparseEffect,
)
from dfl.abtest.state import State
from dfl.abtest.winsorised import Winsorised
from dfl.io import write_json

PATH = Path(__file__).parent / "results" / "abtest_study.json"
PEOPLE, ROWS, POPULATIONS = 200_000, 20_000, 10
SHARES = (0.0, 0.002, 0.005, 0.01, 0.02)

# Small trees, as in the published script; the label is the mean of both potential outcomes.
TREES = CrossFit(
    regressor=HistGradientBoostingRegressor(
        max_iter=80, max_depth=3, learning_rate=0.1, early_stopping=False, random_state=0
    )
)

SETTINGS: dict[str, AbstractDesign] = {
    **{f"count {share:g}": HeavyTailedCount(outliers=share) for share in SHARES},
    **{f"ratio {share:g}": HeavyTailedRatio(outliers=share) for share in (0.0, 0.002, 0.01)},
    # With the oracle's prediction of the metric under control.
    "oracle: same design": HeavyTailedCount(),
    "oracle: constant shift": ConstantShift(),
    "oracle: sparse effect": SparseEffect(),
    "oracle: multiplicative spend": MultiplicativeSpend(),
}
STATES: dict[str, AbstractEstimator] = {
    "STATE, nu 10": State(),
    "STATE, nu 4": State(nu=4.0),
    "STATE, nu free": State(nu="free"),
}
MEANS: dict[str, AbstractEstimator] = {
    "difference in means": DifferenceInMeans(),
    "CUPED": Cuped(columns=(2,)),
    "CUPAC": Cupac(),
    "MLRATE": Mlrate(),
    "AIPW (linear)": Aipw(cross_fit=CrossFit(regressor=LinearRegression())),
    "winsorised 99.9 %": Winsorised(),
    "Huber": Huber(),
}


def estimators_of(setting: str) -> dict[str, AbstractEstimator]:
    """Return those that a setting is about."""
    if setting.startswith("count"):
        return MEANS | STATES
    if setting.startswith("ratio"):
        kept = ("difference in means", "CUPAC", "MLRATE", "winsorised 99.9 %", "Huber")
        return {name: MEANS[name] for name in kept} | {"STATE, nu 10": STATES["STATE, nu 10"]}
    return {name: (MEANS | STATES)[name] for name in ("CUPAC", "STATE, nu 10", "STATE, nu 4")}


def study(path: Path, runs: int, minutes: float) -> bool:
    """Measure what is missing, population by population; return whether all is there."""
    deadline = time.monotonic() + 60 * minutes
    results = json.loads(path.read_text()) if path.exists() else {}
    for setting, design in SETTINGS.items():
        for number in range(POPULATIONS):
            key = f"{setting} / {number}"
            if key in results:
                continue
            if time.monotonic() > deadline:
                return False
            results[key] = measure(setting, design, number, runs)
            write_json(path, results)
            print(f"{key}: {results[key]['seconds']:.0f} s", flush=True)
    return True


def measure(setting: str, design: AbstractDesign, number: int, runs: int) -> dict[str, Any]:
    """Return what each estimator does over some runs on one population."""
    start = time.process_time()
    generator = np.random.default_rng((20_240_716, list(SETTINGS).index(setting), number))
    population = design.draw(PEOPLE, generator=generator)
    prediction = population.oracle
    if not setting.startswith("oracle"):
        prediction = TREES.predict(population.covariates, population.label)
    estimators = estimators_of(setting)
    found: dict[str, list[Fit]] = {name: [] for name in estimators}
    for _ in range(runs):
        seen = population.experiment(ROWS, generator=generator, prediction=prediction)
        for name, estimator in estimators.items():
            contrast = seen.contrast(1, estimator.linearisation)
            if name != "CUPED":  # the others read the prediction alone
                contrast = replace(contrast, covariates=None)
            found[name].append(estimator.fit(contrast))
    return {
        "effect": population.effect,
        "bulk_effect": population.bulk_effect,
        "runs": runs,
        "estimators": {name: summary(fits, population) for name, fits in found.items()},
        "seconds": time.process_time() - start,
    }


def summary(fits: list[Fit], population: Population) -> dict[str, float]:
    """Return bias, variance, mean standard error and coverage."""
    estimate = np.array([fit.estimate for fit in fits])
    error = np.array([fit.standard_error for fit in fits])
    kept: Mapping[str, float] = {
        "mean": float(estimate.mean()),
        "variance": float(estimate.var(ddof=1)),
        "mean_error": float(error.mean()),
        "mean_error_variance": float((error**2).mean()),
        "covers": float((np.abs(estimate - population.effect) <= 1.959964 * error).mean()),
        "covers_bulk": float(
            (np.abs(estimate - population.bulk_effect) <= 1.959964 * error).mean()
        ),
    }
    checks = [
        fit.diagnostics["check_p_value"] for fit in fits if "check_p_value" in fit.diagnostics
    ]
    if checks:
        kept = {**kept, "check_rejects": float((np.array(checks) < 0.05).mean())}
    if "nu" in fits[0].diagnostics:
        kept = {**kept, "mean_nu": float(np.mean([fit.diagnostics["nu"] for fit in fits]))}
    return dict(kept)


def main() -> None:
    """Run the study, or write its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100, help="runs per population")
    parser.add_argument("--minutes", type=float, default=1e6, help="stop after so many")
    parser.add_argument(
        "--report", action="store_true", help="write docs/abtest.md, measure nothing"
    )
    options = parser.parse_args()
    if options.report:
        write_report(json.loads(PATH.read_text()))
    elif not study(PATH, options.runs, options.minutes):
        print("not finished; run it again to go on")


if __name__ == "__main__":
    main()
