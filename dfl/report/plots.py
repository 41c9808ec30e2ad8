"""Plots of a run: value against budget, who gets what, and training."""

import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:  # matplotlib loads on use: most commands draw nothing
    from matplotlib.axes import Axes

__all__ = [
    "ABOUT",
    "COMPARISON_PLOTS",
    "RUN_PLOTS",
    "Plot",
    "draw",
    "legend",
    "name_of",
    "plot_files",
    "run_plots",
    "style_of",
]

Plot: TypeAlias = "Callable[[Axes, Mapping[str, Any]], None]"

_SIZE = (5.2, 3.4)  # inches: as wide as a phone, so that its letters can be read there
_LINE = 0.22  # inches of height that a line of the legend takes
# Okabe and Ito's colours, which all kinds of colour vision tell apart.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
_MARKERS = "osv^Dx*"
_LONGEST = 40  # letters of a name
_BESIDE = 22  # letters up to which two names stand beside each other


def draw(plot: Plot, results: Mapping[str, Any]) -> bytes:
    """Return a plot as PNG.

    Args:
        plot: one of `RUN_PLOTS` or `COMPARISON_PLOTS`.
        results: ``metrics`` and ``history`` of a run, or a ``comparison``, as the folder
            holds them.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.rcsetup import cycler

    target = BytesIO()
    # Names of treatments and columns are no formulas, whatever dollars they hold.
    as_text = rc_context(
        {
            "text.parse_math": False,
            "text.usetex": False,
            "axes.prop_cycle": cycler(color=_COLOURS),
        }
    )
    with as_text, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # letters without a glyph, crowded legends
        figure = Figure(figsize=_SIZE, layout="constrained")  # without pyplot: no global state
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        plot(axes, results)
        figure.savefig(target, format="png", dpi=160, metadata={"Software": None})
    return target.getvalue()


def plot_files(images: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return path inside the run folder to plot; captions that look alike get a number.

    Args:
        images: caption to PNG.
    """
    files: dict[str, bytes] = {}
    taken: set[str] = set()
    for caption, image in images.items():
        name = stem = re.sub(r"[ /\\\ud800-\udfff]", "-", caption)
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        files[f"plots/{name}.png"] = image
    return files


def name_of(text: str) -> str:
    """Return a name as a label: not too long, and behind a blank, which `legend` takes away.

    Matplotlib would leave labels out that begin with ``_``, and fail at half a letter.
    """
    text = text.encode("utf-8", "backslashreplace").decode()
    return f" {text if len(text) <= _LONGEST else text[: _LONGEST - 1] + '…'}"


def style_of(place: int) -> dict[str, Any]:
    """Return colour and marker of what stands at a place of a list; the first 56 differ."""
    marker = _MARKERS[place // len(_COLOURS) % len(_MARKERS)]
    return {"color": _COLOURS[place % len(_COLOURS)], "marker": marker}


def legend(axes: "Axes") -> None:
    """Add a legend of everything that `name_of` labels, above; the figure grows with it."""
    labels = axes.get_legend_handles_labels()[1]
    columns = 1 if max(map(len, labels), default=0) > _BESIDE else 2
    figure = axes.get_figure(root=True)
    if figure is not None:
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + _LINE * -(-len(labels) // columns))
    above = axes.legend(
        frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns
    )
    for text in above.get_texts():
        text.set_text(text.get_text()[1:])


def value_against_budget(axes: "Axes", results: Mapping[str, Any]) -> None:
    """Draw the expected outcome with its band, and the reference points."""
    metrics = results["metrics"]
    curve = metrics["curve"]
    budget = [point["budget"] for point in curve]
    axes.fill_between(
        budget, [p["low"] for p in curve], [p["high"] for p in curve], alpha=0.25, linewidth=0
    )
    axes.plot(budget, [p["value"] for p in curve], label=f"{name_of(metrics['name'])} (estimated)")
    for key, label in (("constant_mix", "best constant mix"), ("random", "random")):
        axes.plot(budget, [point[key] for point in curve], "-.", label=name_of(label))
    if "true" in curve[0]:
        true = [point["true"] for point in curve]
        for key, label in (("value", f"{metrics['name']} (true)"), ("oracle", "oracle (true)")):
            axes.plot(
                [point["budget"] for point in true],
                [p[key] for p in true],
                ":",
                label=name_of(label),
            )
    for name, arm in metrics["arms"].items():
        axes.plot(arm["cost"], arm["revenue"], "o", color="grey", markersize=4)
        axes.annotate(
            name_of(name),
            (arm["cost"], arm["revenue"]),
            (4, -10),
            textcoords="offset points",
            fontsize=9,
        )
    axes.set(xlabel="budget per head (currency)", ylabel="revenue per head (currency)")
    legend(axes)


def difference_against_budget(axes: "Axes", results: Mapping[str, Any]) -> None:
    """Draw what the model earns more than the best constant mix, with its simultaneous band."""
    curve = results["metrics"]["curve"]
    budget = [point["budget"] for point in curve]
    more = [point["against_mix"] for point in curve]
    axes.fill_between(
        budget, [p["low"] for p in more], [p["high"] for p in more], alpha=0.25, linewidth=0
    )
    axes.plot(budget, [p["value"] for p in more], label=name_of(results["metrics"]["name"]))
    axes.axhline(0, color="black", linewidth=1, linestyle="-.", label=name_of("best constant mix"))
    mixes, budgets = results["metrics"]["against_best_mix"], results["metrics"]["budgets"]
    asked = {one["per_head"]: mixes[one["given"]] for one in budgets if one["given"] in mixes}
    low, value, high = ([one[key] for one in asked.values()] for key in ("low", "value", "high"))
    axes.vlines([*asked], low, high, color="C1")
    axes.plot([*asked], value, "o", color="C1", label=name_of("budgets of this run"))
    axes.set(xlabel="budget per head (currency)", ylabel="revenue above the best mix, per head")
    legend(axes)


def calibration(axes: "Axes", results: Mapping[str, Any]) -> None:
    """Draw observed against predicted revenue and cost, in fifths of the test rows."""
    found = results["metrics"]["health"]["calibration"]
    ends = []
    for what, marker in (("revenue", "o"), ("cost", "s")):
        groups = found[what]["groups"]
        seen = [group["observed"] for group in groups]
        error = [[max(p["value"] - p["low"], 0.0) for p in seen]]
        predicted = [group["predicted"] for group in groups]
        axes.errorbar(
            predicted,
            [p["value"] for p in seen],
            error * 2,
            fmt=marker,
            capsize=3,
            label=name_of(what),
        )
        ends += predicted
    axes.plot([min(ends), max(ends)], [min(ends), max(ends)], "-.", label=name_of("as predicted"))
    axes.set(xlabel="predicted per head (currency)", ylabel="observed per head (currency)")
    legend(axes)


def mix_against_budget(axes: "Axes", results: Mapping[str, Any]) -> None:
    """Draw the share of people under each treatment."""
    from matplotlib import colormaps

    mix = results["metrics"]["mix"]
    names = list(results["metrics"]["arms"])
    shares = [[point["shares"][j] for point in mix] for j in range(len(names))]
    # More treatments than colours: shades in their order, so that none looks like another.
    shades = colormaps["viridis"](np.linspace(0, 1, len(names)))
    axes.stackplot(
        [point["budget"] for point in mix],
        shares,
        colors=shades if len(names) > len(_COLOURS) else None,
        labels=[name_of(name) for name in names],
        alpha=0.85,
    )
    axes.set(
        xlabel="budget per head (currency)", ylabel="share of people", ylim=(0, 1), xmargin=0.0
    )
    legend(axes)


def training_curves(axes: "Axes", results: Mapping[str, Any]) -> None:
    """Draw loss and validation error of every stage, epoch by epoch.

    The stages that only choose a weight decay are left out; the history holds them.
    """
    from matplotlib.ticker import MaxNLocator

    stages = {
        name: logs
        for name, logs in results["history"].items()
        if "loss" in logs[0] and not name.startswith("tuning-")
    }
    for index, (name, logs) in enumerate(stages.items()):
        for key, style in (("loss", "-"), ("validation", "--")):
            if key in logs[0]:
                axes.plot(
                    range(1, len(logs) + 1),
                    _finite(logs, key),
                    style,
                    color=f"C{index}",
                    label=name_of(f"{name}: {key}"),
                )
    axes.set(xlabel="epoch", ylabel="loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(axes)


def corrections(axes: "Axes", results: Mapping[str, Any]) -> None:
    """Draw how far predictions were corrected along the features that matter, by treatment."""
    found = results["metrics"]["model"]["correction"]
    features, treatments = found["features"], found["treatments"]
    height = 0.8 / len(treatments)
    for index, treatment in enumerate(treatments):
        places = [row + height * (index + 0.5) - 0.4 for row in range(len(features))]
        shares = [100 * row[index] for row in found["shares"]]
        axes.barh(places, shares, height, label=name_of(treatment))
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(features)), [name_of(feature) for feature in features])
    axes.invert_yaxis()
    axes.set(xlabel="correction per standard deviation (% of the average revenue)")
    legend(axes)


def methods_beside_each_other(axes: "Axes", results: Mapping[str, Any]) -> None:
    """Draw every method's value at every budget, with its interval."""
    comparison = results["comparison"]
    budgets = comparison["budgets"]
    names = list(budgets[0]["methods"])
    for index, name in enumerate(names):
        found = [budget["methods"][name]["eom"] for budget in budgets]
        place = [k + 0.6 * (index + 0.5) / len(names) - 0.3 for k in range(len(budgets))]
        low = [max(one["value"] - one.get("low", one["value"]), 0.0) for one in found]
        axes.errorbar(
            place,
            [one["value"] for one in found],
            low,
            linestyle="",
            capsize=3,
            label=name_of(name),
            **style_of(index),
        )
    axes.set_xticks(range(len(budgets)), [budget["given"] for budget in budgets])
    axes.set(xlabel="budget", ylabel="revenue per head (currency)")
    legend(axes)


RUN_PLOTS: Mapping[str, Plot] = {
    "value against budget": value_against_budget,
    "difference against budget": difference_against_budget,
    "mix against budget": mix_against_budget,
    "calibration": calibration,
    "what the experiment corrected": corrections,
    "training": training_curves,
}
COMPARISON_PLOTS: Mapping[str, Plot] = {"methods": methods_beside_each_other}

ABOUT: Mapping[str, str] = {
    "value against budget": "The line is what the model earns at each budget, on rows it never "
    "saw; the band is its interval. A grey point is one treatment for everyone.",
    "difference against budget": "How much more than the best constant mix the model earns; where "
    "the band, which holds over all budgets at once, is above zero, that is beyond chance. "
    "Points are single budgets with intervals of their own, which are narrower.",
    "mix against budget": "How many people get which treatment, from the smallest budget to the "
    "largest.",
    "calibration": "Each point is about a fifth of the test rows, by what is predicted for them; "
    "on the line, as much is observed as was predicted.",
    "what the experiment corrected": "By how much predictions were corrected for a person one "
    "standard deviation above the average.",
    "training": "Solid: the loss that is made small. Dashed: the error on rows that choose when to "
    "stop.",
    "methods": "Each method at each budget, with its interval.",
    "revenue of segments": "What the plan earns by its tables, and on rows that did not make it.",
    "treatments of segments": "The treatment of each segment at each budget.",
}
"""What a plot of a page shows, in a sentence, by its caption."""


def run_plots(metrics: Mapping[str, Any]) -> Mapping[str, Plot]:
    """Return the plots of a run; what was not measured, as by an earlier version, is left out."""
    curve = metrics.get("curve") or [{}]
    lacking = set() if "against_mix" in curve[0] else {"difference against budget"}
    lacking |= set() if "health" in metrics else {"calibration"}
    correction = (metrics.get("model") or {}).get("correction")
    if correction is None or not any(map(any, correction["shares"])):
        lacking.add("what the experiment corrected")
    return {name: plot for name, plot in RUN_PLOTS.items() if name not in lacking}


def _finite(logs: Sequence[Mapping[str, float]], key: str) -> list[float]:
    return [one[key] if one.get(key) is not None else math.nan for one in logs]
