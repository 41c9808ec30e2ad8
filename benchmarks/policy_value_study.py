"""Measures the estimators of a policy's value: error, and whether intervals cover.

``OMP_NUM_THREADS=1 python -m benchmarks.policy_value_study`` runs the settings that
``results/policy_value_study.json`` does not hold yet, 200 samples each, and writes after each
setting. ``--report`` prints the table from the file alone. On the simulator `coupon` samples are
fresh. With ``--gotv FILE`` the get-out-the-vote letters are added: the voters of the file are the
population, samples are households drawn from it with replacement, and the truth of each estimator
is what it says of the whole file.

``rows`` is the share of the rows that would do for the same error: the mean squared error of an
estimator over that of horvitz-thompson, as published. ``bound`` is what no estimator that stays
right on average can beat, because outcomes vary given the features: the same share for a doubly
robust one that knows every expected outcome, computed from the truth at the true multiplier.
"""

import argparse
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.data import CouponSimulator, RidgePolicy, UpliftData, load
from dfl.io import write_json
from dfl.metrics import Bootstrap, TrueScale, best_constant_mix, expected_outcome, true_curve
from dfl.metrics.rows.randomised_rows import UnsafeEstimatorWarning
from dfl.seeds import stream
from dfl.solvers import decide
from dfl.stats import paired_difference

PATH = Path(__file__).parent / "results" / "policy_value_study.json"
REPETITIONS, DRAWS, PEOPLE = 200, 200, 400_000
SHARES = (0.1, 0.3, 0.5)
ESTIMATORS = ("horvitz-thompson", "self-normalised", "doubly-robust")
Truth = Sequence[tuple[float, float]]  # value, and gain over the best constant mix, per budget
Model = Callable[[UpliftData], tuple[Tensor, Tensor]]


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
    curve = true_curve(people.truth, *model(people))
    points = [curve.at(amount) for amount in scale.budgets]
    bounds = {}
    for share, amount, point in zip(SHARES, scale.budgets, points, strict=True):
        low, high = curve.at(0.98 * amount), curve.at(1.02 * amount)
        slope = (high.value - low.value) / (high.cost - low.cost)
        bounds[f"{share:g}"] = bound(people, point.multiplier, slope)
    values = [point.value for point in points]
    truth = [(v, v - mix) for v, mix in zip(values, scale.constant_mix, strict=True)]
    return {"bound": bounds} | repeated(
        lambda repetition: setting.draw(setting.rows, repetition),
        model,
        scale.budgets,
        dict.fromkeys(ESTIMATORS, truth),
    )


def repeated(
    draw: Callable[[int], UpliftData],
    predict: Model,
    amounts: Sequence[float],
    truths: dict[str, Truth],
) -> dict[str, Any]:
    """Return each estimator's summary over the samples that ``draw`` gives."""
    found: dict[str, list[list[dict[str, float]]]] = {name: [] for name in truths}
    budgets = [Budget(per_head=amount) for amount in amounts]
    for repetition in range(REPETITIONS):
        data = draw(repetition)
        plan = Bootstrap(draws=DRAWS, seed=repetition)
        for name, truth in truths.items():
            outcomes = expected_outcome(
                data, *predict(data), budgets, estimator=name, bootstrap=plan
            )
            mixes = best_constant_mix(data, budgets, estimator=name, bootstrap=plan)
            row = []
            for outcome, mix, (value, more) in zip(outcomes, mixes, truth, strict=True):
                gain = paired_difference(outcome.estimate, mix.estimate).estimate
                row.append(
                    {
                        "error": outcome.value - value,
                        "standard_error": outcome.standard_error,
                        "covered": outcome.low <= value <= outcome.high,
                        "gain_error": gain.value - more,
                        "gain_covered": gain.low <= more <= gain.high,
                    }
                )
            found[name].append(row)
    return {name: summary(rows) for name, rows in found.items()}


def measure_gotv(people: UpliftData, rows: int) -> dict[str, Any]:
    """Measure on samples of about so many voters, households whole."""
    policy = RidgePolicy.fit(people.subset(torch.arange(0, len(people), 35)), share=0.3)

    def predict(data: UpliftData) -> tuple[Tensor, Tensor]:
        revenue, cost = (data.features @ policy.weights + policy.offsets).chunk(2, dim=1)
        return revenue, cost

    arms = [people.cost[people.treatment == arm].double().mean() for arm in range(5)]
    amounts = [share * float(max(arms)) for share in SHARES]
    budgets = [Budget(per_head=amount) for amount in amounts]
    truths = {}
    few = Bootstrap(draws=2)
    for name in ESTIMATORS:
        values = expected_outcome(people, *predict(people), budgets, estimator=name, bootstrap=few)
        mixes = best_constant_mix(people, budgets, estimator=name, bootstrap=few)
        truths[name] = [
            (one.value, one.value - mix.estimate.value)
            for one, mix in zip(values, mixes, strict=True)
        ]
    assert people.groups is not None
    household, sizes = torch.unique(people.groups, return_inverse=True, return_counts=True)[1:]
    order, last = household.argsort(stable=True), sizes.cumsum(0)
    wanted = round(rows * len(sizes) / len(people))

    def draw(repetition: int) -> UpliftData:
        generator = stream(repetition, "policy-value-study")
        drawn = torch.randint(len(sizes), (wanted,), generator=generator)
        size = sizes[drawn]
        within = torch.arange(int(size.sum())) - (size.cumsum(0) - size).repeat_interleave(size)
        index = order[(last - sizes)[drawn].repeat_interleave(size) + within]
        groups = torch.arange(wanted).repeat_interleave(size)
        return replace(people.subset(index), groups=groups)

    return {"bound": {}} | repeated(draw, predict, amounts, truths)


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
        "| setting | estimator | budget | error | rows | bound | covers | gain over mix: rows | "
        "covers |",
        "|" + "---|" * 9,
    ]
    for name, one in stored.items():
        for estimator in (known for known in ESTIMATORS if known in one):
            for share, new in one[estimator].items():
                old, least = one["horvitz-thompson"][share], one["bound"].get(share)
                rows, gain = (
                    "" if new is old else f"{(new[key] / old[key]) ** 2:.2f}"
                    for key in ("rmse", "gain_rmse")
                )
                limit = f"{least:.2f}" if least and estimator == "doubly-robust" else ""
                lines.append(
                    f"| {name} | {estimator} | {share} | {new['rmse']:.4g} | {rows} | {limit} | "
                    f"{new['coverage']:.1%} | {gain} | {new['gain_coverage']:.1%} |"
                )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--gotv", metavar="FILE")
    arguments = parser.parse_args()
    stored = json.loads(PATH.read_text(encoding="utf-8")) if PATH.exists() else {}
    if arguments.report:
        print(report(stored))
        return
    warnings.simplefilter("ignore", UnsafeEstimatorWarning)  # that is what is measured
    wanted = {one.name: partial(measure, one) for one in SETTINGS}
    if arguments.gotv is not None:
        people = load("gotv", path=arguments.gotv).data.to("cpu", torch.float64)
        for rows in (2_000, 20_000):
            wanted[f"gotv, about {rows} rows"] = partial(measure_gotv, people, rows)
    for name, run in wanted.items():
        if not set(ESTIMATORS) <= set(stored.get(name, ())):
            stored[name] = run()
            write_json(PATH, stored)
            print(report({name: stored[name]}), flush=True)


if __name__ == "__main__":
    main()
