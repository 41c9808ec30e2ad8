"""How often 95 % intervals hold the truth, from 10 rows to 100,000 and from 5 clusters to 500.

``OMP_NUM_THREADS=1 python -m benchmarks.abtest_coverage`` measures, cell by cell, what
``benchmarks/results/abtest_coverage.json`` does not hold yet; ``--report`` writes the table of
``docs/abtest.md`` from it. An effect of 0 is read by every estimator; covariate and prediction are
half of the metric's variation. Where an estimator refuses more than half of the runs the cell says
so.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LinearRegression

from dfl.abtest import ESTIMATORS, AbstractEstimator, CrossFit, Experiment
from dfl.errors import DflError
from dfl.io import write_json, write_whole

RESULTS = Path(__file__).parent / "results" / "abtest_coverage.json"
PAGE = Path(__file__).parents[1] / "docs" / "abtest.md"
RUNS = 500
SEED = 2_027  # none of the rules was chosen on these draws
LAWS = ("normal", "t3", "lognormal", "ratio")
BEGIN, END = "<!-- coverage: begin -->", "<!-- coverage: end -->"


def estimators() -> dict[str, AbstractEstimator]:
    """Return all of them by name; aipw with a linear model, so that it is quick."""
    linear = CrossFit(regressor=LinearRegression())
    options: dict[str, dict[str, Any]] = {"aipw": {"cross_fit": linear}}
    return {name: ESTIMATORS.load(name)(**options.get(name, {})) for name in ESTIMATORS}


def cells() -> Iterator[tuple[str, int, float]]:
    """Yield law, number of rows or clusters, and share of the treated."""
    for units in (5, 20, 100, 500):
        for share in (0.5, 0.05):
            for law in ("clusters", "uneven clusters"):
                yield law, units, share
    yield from (("clusters", 404, 0.01), ("uneven clusters", 404, 0.01))  # 4 treated
    for units in (10, 30, 100, 1_000, 10_000, 100_000):
        for share in (0.5, 0.05):
            for law in LAWS:
                yield law, units, share


def noise(law: str, units: int, draw: np.random.Generator) -> np.ndarray:
    """Draw the part of a metric that nothing explains."""
    if law == "t3":
        return draw.standard_t(3, units)
    return np.exp(draw.standard_normal(units)) if law == "lognormal" else draw.normal(0, 1, units)


def experiment(law: str, units: int, share: float, draw: np.random.Generator) -> Experiment:
    """Draw one experiment without an effect; at least two units are treated."""
    treated = np.arange(units) < max(round(units * share), 2)
    draw.shuffle(treated)
    unit = np.arange(units)
    if "clusters" in law:
        size = draw.geometric(0.1, units) if law.startswith("uneven") else np.full(units, 5)
        unit = np.repeat(unit, size)
    x = draw.standard_normal(units)[unit]
    metric = x + noise(law, units, draw)[unit] + ("clusters" in law) * draw.normal(0, 1, len(unit))
    events = None
    if law == "ratio":
        events = 1.0 + draw.poisson(2, units)
        metric = events * (10 + metric)
    return Experiment(
        treatment=treated[unit].astype(int),
        metric=metric,
        denominator=events,
        covariates=x,
        prediction=x,
        clusters=unit if "clusters" in law else None,
    )


def measure(law: str, units: int, share: float, runs: int) -> dict[str, list[int]]:
    """Return, for each estimator, how many runs held the truth and how many were read."""
    found = {name: [0, 0] for name in ESTIMATORS}
    draw = np.random.default_rng((SEED, units, round(100 * share), len(law)))
    for _ in range(runs):
        data = experiment(law, units, share, draw)
        for name, estimator in estimators().items():
            try:
                (effect,) = estimator.effects(data)
            except DflError:
                continue
            found[name][0] += effect.low <= 0 <= effect.high
            found[name][1] += 1
    return found


def report(results: dict[str, Any]) -> str:
    """Return the table in Markdown."""
    names = list(ESTIMATORS)
    lines = [
        "| law | units | treated | " + " | ".join(names) + " |",
        "| --- " * (3 + len(names)) + "|",
    ]
    for law, units, share in cells():
        found = results.get(f"{law}/{units}/{share:g}")
        if found is not None:
            shown = [cover(*found["covered"][name], found["runs"]) for name in names]
            lines.append(f"| {law} | {units:,} | {share:.0%} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def cover(held: int, read: int, runs: int) -> str:
    """Return the coverage of the runs that were read."""
    if 2 * read < runs:
        return "refused"
    return f"{held / read:.1%}" + ("" if read == runs else f" ({1 - read / runs:.0%} refused)")


def main() -> None:
    """Measure what is missing, or write the table."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if "--report" in sys.argv:
        page = PAGE.read_text(encoding="utf-8")
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        text = f"{before}{BEGIN}\n\n{report(results)}\n\n{END}{after}"
        write_whole(PAGE, lambda path: path.write_text(text, encoding="utf-8"))
        return
    for law, units, share in cells():
        key = f"{law}/{units}/{share:g}"
        if key not in results:
            results[key] = {"runs": RUNS, "covered": measure(law, units, share, RUNS)}
            write_json(RESULTS, results)


if __name__ == "__main__":
    main()
