"""Measures the estimators of a policy's value on `coupon`: error, and whether intervals cover.

``OMP_NUM_THREADS=1 python -m benchmarks.policy_value_study`` runs the settings that
``results/policy_value_study.json`` does not hold yet, 200 fresh samples each, and writes after each
setting. ``--report`` prints the table from the file alone.

``rows`` is the share of today's rows that would do for the same error: the mean squared error of
the doubly robust estimator over that of horvitz-thompson, as published. ``bound`` is what no
estimator that stays right on average can beat, because outcomes vary given the features: the same
share for a doubly robust one that knows every expected outcome, computed from the truth at the
true multiplier.
"""

import argparse
import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.data import CouponSimulator, UpliftData
from dfl.io import write_json
from dfl.metrics import Bootstrap, TrueScale, best_constant_mix, expected_outcome, true_curve
from dfl.metrics.rows.randomised_rows import UnsafeEstimatorWarning
from dfl.seeds import stream
from dfl.solvers import decide
from dfl.stats import paired_difference

PATH = Path(__file__).parent / "results" / "policy_value_study.json"
REPETITIONS, DRAWS, PEOPLE = 200, 200, 400_000
SHARES = (0.1, 0.3, 0.5)
ESTIMATORS = ("horvitz-thompson", "doubly-robust")


@final
@dataclass(frozen=True)
class Setting:
    """A world: noise of outcomes, a constant on all revenue, and what is known of propensities."""

    rows: int
    noise: float = 1.0
    base: float = 0.0
    known: bool = False

    @property
    def name(self) -> str:
        known = ", known propensity" if self.known else ""
        return f"{self.rows} rows, noise {self.noise:g}, base {self.base:g}{known}"

    def draw(self, rows: int, seed: int) -> UpliftData:
        source = CouponSimulator(noise=self.noise, known_propensity=self.known)
        data = source.draw(rows, generator=stream(seed, "policy-value-study"))
        assert data.truth is not None
        truth = replace(data.truth, revenue=data.truth.revenue.double() + self.base)
        truth = replace(truth, cost=truth.cost.double())
        data = data.to("cpu", torch.float64)
        return replace(data, revenue=data.revenue + self.base, truth=truth)


WORLDS = ({}, {"known": True}, {"base": 100.0}, {"noise": 0.3}, {"noise": 0.0})
SETTINGS = [Setting(rows, **world) for rows in (2_000, 20_000) for world in WORLDS]


def model(data: UpliftData) -> tuple[Tensor, Tensor]:
    """Predict with systematic errors: too much here, too little there, by features."""
    assert data.truth is not None
    tilt = 0.3 * torch.randn(20, 5, generator=torch.Generator().manual_seed(5)).double()
    revenue = data.truth.revenue + 1.5 * (data.features @ tilt).tanh()
    return revenue, data.truth.cost * (1 + 0.3 * data.features[:, :1].tanh())


def bound(people: UpliftData, multiplier: float, slope: float) -> float:
    """Return the variance of the best estimator over that of horvitz-thompson.

    Both of ``revenue - slope * cost`` of the choice: an error in the spend is paid for along
    the curve of value against spend.
    """
    assert people.truth is not None
    choice = decide(*model(people), multiplier)
    arms = people.treatments
    match = (choice == people.treatment).double() * arms
    outcome = people.revenue - slope * people.cost
    expected = people.truth.revenue - slope * people.truth.cost
    at_choice = expected.gather(1, choice[:, None]).squeeze(1)
    best = at_choice + match * (outcome - at_choice)
    published = match * outcome
    if people.propensity is None:  # shares of the arms are taken as they came out
        means = torch.stack([published[people.treatment == arm].mean() for arm in range(arms)])
        published = published - means[people.treatment]
    return float(best.var() / published.var())


def measure(setting: Setting) -> dict[str, Any]:
    people = setting.draw(PEOPLE, -1 % (1 << 30))
    assert people.truth is not None
    budgets = [Budget(share=share) for share in SHARES]
    scale = TrueScale.of(people.truth, budgets)
    amounts = [Budget(per_head=amount) for amount in scale.budgets]
    curve = true_curve(people.truth, *model(people))
    points = [curve.at(amount) for amount in scale.budgets]
    found: dict[str, Any] = {"bound": {}, **{name: [] for name in ESTIMATORS}}
    for share, amount, point in zip(SHARES, scale.budgets, points, strict=True):
        low, high = curve.at(0.98 * amount), curve.at(1.02 * amount)
        slope = (high.value - low.value) / (high.cost - low.cost)
        found["bound"][f"{share:g}"] = bound(people, point.multiplier, slope)
    for repetition in range(REPETITIONS):
        data = setting.draw(setting.rows, repetition)
        plan = Bootstrap(draws=DRAWS, seed=repetition)
        for name in ESTIMATORS:
            outcomes = expected_outcome(data, *model(data), amounts, estimator=name, bootstrap=plan)
            mixes = best_constant_mix(data, amounts, estimator=name, bootstrap=plan)
            row = []
            for outcome, mix, point, true_mix in zip(
                outcomes, mixes, points, scale.constant_mix, strict=True
            ):
                gain = paired_difference(outcome.estimate, mix.estimate).estimate
                truth = point.value - true_mix
                row.append(
                    {
                        "error": outcome.value - point.value,
                        "standard_error": outcome.standard_error,
                        "covered": outcome.low <= point.value <= outcome.high,
                        "gain_error": gain.value - truth,
                        "gain_covered": gain.low <= truth <= gain.high,
                    }
                )
            found[name].append(row)
    return {"bound": found["bound"], **{name: summary(found[name]) for name in ESTIMATORS}}


def summary(rows: list[list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Return, per budget, bias, error and coverage over the repetitions."""
    result = {}
    for share, column in zip(SHARES, zip(*rows, strict=True), strict=True):
        keys = {key: np.array([one[key] for one in column]) for key in column[0]}
        result[f"{share:g}"] = {
            "bias": float(keys["error"].mean()),
            "rmse": float(np.sqrt((keys["error"] ** 2).mean())),
            "mean_standard_error": float(keys["standard_error"].mean()),
            "coverage": float(keys["covered"].mean()),
            "gain_rmse": float(np.sqrt((keys["gain_error"] ** 2).mean())),
            "gain_coverage": float(keys["gain_covered"].mean()),
        }
    return result


def report(stored: dict[str, Any]) -> str:
    lines = [
        "| setting | budget | error, published | error | rows | bound | covers, published | "
        "covers | gain over mix: rows | covers |",
        "|" + "---|" * 10,
    ]
    for name, one in stored.items():
        for share in one["bound"]:
            old, new = (one[estimator][share] for estimator in ESTIMATORS)
            lines.append(
                f"| {name} | {share} | {old['rmse']:.3f} | {new['rmse']:.3f} | "
                f"{(new['rmse'] / old['rmse']) ** 2:.2f} | {one['bound'][share]:.2f} | "
                f"{old['coverage']:.1%} | {new['coverage']:.1%} | "
                f"{(new['gain_rmse'] / old['gain_rmse']) ** 2:.2f} | {new['gain_coverage']:.1%} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", action="store_true")
    stored = json.loads(PATH.read_text(encoding="utf-8")) if PATH.exists() else {}
    if parser.parse_args().report:
        print(report(stored))
        return
    warnings.simplefilter("ignore", UnsafeEstimatorWarning)  # that is what is measured
    for setting in SETTINGS:
        if setting.name not in stored:
            stored[setting.name] = measure(setting)
            write_json(PATH, stored)
            print(report({setting.name: stored[setting.name]}), flush=True)


if __name__ == "__main__":
    main()
