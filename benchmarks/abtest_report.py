"""Writes what the study of the estimators found: tables and a plot in ``docs/``."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

__all__ = ["write_report"]

DOCS = Path(__file__).parent.parent / "docs"
SPEED = Path(__file__).parent / "results" / "abtest_speed.json"
STATE = "STATE, nu 10"
SHARES = (0.0, 0.002, 0.005, 0.01, 0.02)
# Reduction against CUPAC, and STATE's coverage of the effect on all, that an earlier
# reconstruction of the design found.
RECONSTRUCTED = {0.0: "-3.6 %", 0.002: "52.3 %", 0.005: "75.8 %", 0.01: "86.5 %", 0.02: "91.8 %"}

TICKS = (0.1, 0.2, 0.5, 1, 2)

Row = dict[str, float]


def write_report(results: Mapping[str, Any]) -> None:
    """Replace the study's part of ``docs/abtest.md``, and draw the plot."""
    page = DOCS / "abtest.md"
    parts = [variance_table(results), bands(results), coverage_table(results)]
    parts += [ratio_table(results), failure_table(results)]
    text = put(page.read_text(encoding="utf-8"), "study", "\n\n".join(parts))
    text = put(text, "speed", speed_table(json.loads(SPEED.read_text(encoding="utf-8"))))
    page.write_text(text, encoding="utf-8")
    draw(results, DOCS / "images" / "abtest_variance.png")


def put(text: str, name: str, content: str) -> str:
    """Replace what stands between two marks."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, rest = text.split(begin)
    return f"{head}{begin}\n\n{content}\n\n{end}{rest.split(end)[1]}"


def speed_table(found: Mapping[str, Any]) -> str:
    """Return the processor seconds of STATE and of least squares."""
    seconds, memory = found["time"], max(found["memory"].values())
    peers = {
        "least squares on (1, T, g), normal equations": "least_squares_seconds",
        "least squares on (1, T, g), numpy's lstsq": "lstsq_seconds",
        "least squares on (1, T, g) and 10 covariates": "least_squares_with_covariates_seconds",
    }
    state = seconds["state_seconds"]
    rows = [[f"STATE, {seconds['em_steps']:.0f} EM steps", f"{state:.2f}", ""]]
    rows += [
        [name, f"{seconds[key]:.2f}", f"{state / seconds[key]:.1f}"] for name, key in peers.items()
    ]
    columns = [f"{seconds['rows']:,} rows", "processor seconds", "STATE takes so many times"]
    said = f"Memory on top of the columns: {memory:.0f} bytes a row, from 1 to 4 million rows."
    return f"{table(columns, rows)}\n\n{said}"


def pooled(results: Mapping[str, Any], setting: str) -> dict[str, Row]:
    """Return each estimator's figures over all populations of a setting.

    Variances are those within a population, as in the published design; biases are measured
    from each population's own effect.
    """
    chunks = [chunk for key, chunk in results.items() if key.rpartition(" / ")[0] == setting]
    found = {}
    for name in chunks[0]["estimators"]:
        rows = [chunk["estimators"][name] for chunk in chunks]
        merged = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        for target in ("effect", "bulk_effect"):
            gaps = [row["mean"] - chunk[target] for row, chunk in zip(rows, chunks, strict=True)]
            merged[f"bias_{target}"] = float(np.mean(gaps))
            merged[target] = float(np.mean([chunk[target] for chunk in chunks]))
        merged["runs"] = float(sum(chunk["runs"] for chunk in chunks))
        found[name] = merged
    return found


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def variance_table(results: Mapping[str, Any]) -> str:
    """Return the variance of every estimator at every share of outliers."""
    by_share = {share: pooled(results, f"count {share:g}") for share in SHARES}
    names = list(by_share[0.0])
    rows = [
        [name, *(f"{by_share[share][name]['variance']:.4f}" for share in SHARES)] for name in names
    ]
    for peer in ("CUPAC", "MLRATE", "difference in means"):
        rows.append(
            [
                f"**{STATE} against {peer}**",
                *(f"**{reduction(by_share[share], peer):.1%}**" for share in SHARES),
            ]
        )
    rows.append(["the same against CUPAC, reconstruction", *RECONSTRUCTED.values()])
    free = [f"{by_share[share]['STATE, nu free']['mean_nu']:.1f}" for share in SHARES]
    rows.append(["mean of the free nu", *free])
    runs = int(by_share[0.0][STATE]["runs"])
    head = f"Variance of the estimate over {runs:,} runs, by share of outliers:"
    return head + "\n\n" + table(["estimator", *(f"{share:.1%}" for share in SHARES)], rows)


def reduction(found: Mapping[str, Row], peer: str) -> float:
    """Return by what share STATE's variance is below another one's."""
    return 1 - found[STATE]["variance"] / found[peer]["variance"]


def bands(results: Mapping[str, Any]) -> str:
    """Return each acceptance band with what was found, and whether it lies inside."""
    rows = [
        [
            name,
            f"{value:.3f}",
            f"{low:.2f} to {high:.2f}",
            "yes" if low <= value <= high else "**no**",
        ]
        for name, value, low, high in checks(results)
    ]
    head = f"{STATE} against its acceptance bands:"
    return head + "\n\n" + table(["figure", "found", "band", "inside"], rows)


def checks(results: Mapping[str, Any]) -> Iterator[tuple[str, float, float, float]]:
    """Yield what is checked, the figure found, and its band."""
    some, none = pooled(results, "count 0.002"), pooled(results, "count 0")
    yield "0.2% outliers: reduction against CUPAC", reduction(some, "CUPAC"), 0.45, 0.60
    plain = reduction(some, "difference in means")
    yield "0.2% outliers: reduction against difference in means", plain, 0.75, 0.83
    ratio = none[STATE]["variance"] / none["CUPAC"]["variance"]
    yield "no outliers: variance over that of CUPAC", ratio, 1.0, 1.08
    for share in SHARES:
        row, where = pooled(results, f"count {share:g}")[STATE], f"{share:.1%} outliers"
        error = row["mean_error"] / math.sqrt(row["variance"])
        yield f"{where}: mean standard error over true one", error, 0.94, 1.06
        yield f"{where}: coverage of the effect on the bulk", row["covers_bulk"], 0.93, 0.97
    shift = pooled(results, "oracle: constant shift")[STATE]
    yield "constant shift: coverage of the mean effect", shift["covers"], 0.93, 0.97


def coverage_table(results: Mapping[str, Any]) -> str:
    """Return how often the 95 % intervals of single runs cover the effect."""
    rows = []
    for share in SHARES:
        found = pooled(results, f"count {share:g}")
        row = [
            f"{share:.1%}",
            f"{found[STATE]['effect']:.3f}",
            f"{found[STATE]['bias_effect']:+.3f}",
        ]
        row += [f"{found[name]['covers']:.1%}" for name in ("CUPAC", "MLRATE", "Huber", STATE)]
        row += [f"{found[name]['covers_bulk']:.1%}" for name in ("Huber", STATE)]
        row += [f"{found[STATE]['check_rejects']:.1%}"]
        rows.append(row)
    columns = ["outliers", "mean effect", "STATE's bias", "CUPAC", "MLRATE", "Huber", "STATE"]
    columns += ["Huber, bulk", "STATE, bulk", "check rejects"]
    head = (
        "Coverage of the 95 % intervals of single runs: of the mean effect, outliers included with "
        "an effect of 0, and, in the columns called bulk, of the effect without them, which is "
        "what Huber and STATE are after:"
    )
    return head + "\n\n" + table(columns, rows)


def ratio_table(results: Mapping[str, Any]) -> str:
    """Return the variances on the ratio metric."""
    rows = []
    for share in (0.0, 0.002, 0.01):
        found = pooled(results, f"ratio {share:g}")
        row = [f"{share:.1%}", f"{found[STATE]['effect']:.5f}"]
        names = ("difference in means", "CUPAC", "MLRATE", "winsorised 99.9 %", "Huber", STATE)
        row += [f"{found[name]['variance']:.2e}" for name in names]
        row += [f"{reduction(found, 'CUPAC'):.1%}", f"{found[STATE]['covers_bulk']:.1%}"]
        rows.append(row)
    columns = ["outliers", "effect", "delta method", "CUPAC", "MLRATE", "winsorised", "Huber"]
    columns += [STATE, "STATE against CUPAC", "coverage, bulk"]
    return "The ratio metric, variances:\n\n" + table(columns, rows)


def failure_table(results: Mapping[str, Any]) -> str:
    """Return what STATE makes of effects that are not the same for everyone."""
    rows = []
    settings = [key.rpartition(" / ")[0] for key in results if key.startswith("oracle")]
    for setting in dict.fromkeys(settings):
        found = pooled(results, setting)
        state, mean = found[STATE], found["CUPAC"]
        row = [setting.removeprefix("oracle: "), f"{state['effect']:.3f}"]
        for figures in (mean, state, found["STATE, nu 4"]):
            value = figures["effect"] + figures["bias_effect"]
            row.append(f"{value:.3f} ({math.sqrt(figures['variance']):.3f})")
        row += [f"{state['bias_effect'] / state['effect']:+.0%}", f"{state['covers']:.1%}"]
        row += [f"{state['check_rejects']:.1%}"]
        rows.append(row)
    columns = ["effect", "true mean", "CUPAC (sd)", f"{STATE} (sd)", "STATE, nu 4 (sd)"]
    columns += ["STATE's bias", "STATE covers", "check rejects"]
    head = "Where it fails. Mean of the estimates, with the prediction that is best under control:"
    return head + "\n\n" + table(columns, rows)


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Draw variance against share of outliers."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    names = ("difference in means", "CUPED", "CUPAC", "MLRATE", "winsorised 99.9 %", "Huber", STATE)
    for name, style in zip(names, ("-", "-", "-", "--", "-.", "-", "-"), strict=True):
        values = [pooled(results, f"count {share:g}")[name]["variance"] for share in SHARES]
        axes.plot([100 * share for share in SHARES], values, style, marker="o", label=name)
    axes.set(
        xlabel="outliers (%)",
        ylabel="variance of the estimate",
        yscale="log",
        yticks=TICKS,
        yticklabels=map(str, TICKS),
    )
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=110, metadata={"Software": None})
