"""Tables, plots and page of a run's segments."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dfl.report.html import page, plain_sections, to_bytes
from dfl.report.plots import Plot, draw, plot_files
from dfl.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SEGMENT_PLOTS", "segment_files", "segment_tables"]


def segment_tables(found: Mapping[str, Any]) -> list[Table]:
    """Return the tables of a run's segments.

    Args:
        found: content of ``segments.json``.
    """
    tables = [make(found) for make in (_profile_table, _response_table, _choice_table, _plan_table)]
    if found["student"] is not None:
        tables.append(_student_table(found))
    if found["tree"] is not None:
        tables.append(_tree_table(found))
    return tables


def segment_files(found: Mapping[str, Any], config: str) -> dict[str, bytes]:
    """Draw plots and page; return path inside the run folder to content.

    Args:
        found: content of ``segments.json``.
        config: resolved configuration as YAML.
    """
    images = {name: draw(plot, found) for name, plot in SEGMENT_PLOTS.items()}
    files = plot_files(images)
    title = f"Segments of {found['name']} on {found['data']}"
    sections = plain_sections(segment_tables(found), [*images], config)
    files["segments.html"] = to_bytes(page(title, sections, images))
    return files


def _profile_table(found: Mapping[str, Any]) -> Table:
    rows = [
        (str(k + 1), f"{one['people']:.1%}", "; ".join(one["traits"]) or "like everyone else")
        for k, one in enumerate(found["segments"])
    ]
    return Table("Who they are", ("segment", "people", "what sets them apart"), rows, words=3)


def _response_table(found: Mapping[str, Any]) -> Table:
    names = found["treatments"]
    rows = []
    for k, one in enumerate(found["segments"]):
        cells = [
            f"{r:.4g} [{r - found['reach'] * e:.4g}, {r + found['reach'] * e:.4g}] / {c:.4g}"
            for r, e, c in zip(one["revenue"], one["revenue_error"], one["cost"], strict=True)
        ]
        rows.append((str(k + 1), *cells))
    note = (
        f"Revenue per head with its {found['level']:.0%} interval / cost per head, on rows that "
        "made neither networks nor segments."
    )
    return Table("What they bring and cost", ("segment", *names), rows, note)


def _choice_table(found: Mapping[str, Any]) -> Table:
    plan, names = found["plan"], found["treatments"]
    rows = [
        (str(k + 1), *(names[choice[k]] for choice in plan["choice"]))
        for k in range(len(found["segments"]))
    ]
    columns = ("segment", *(f"{budget:.4g}" for budget in plan["budgets"]))
    return Table("Who gets what, by budget per head", columns, rows, words=len(columns))


def _plan_table(found: Mapping[str, Any]) -> Table:
    plan = found["plan"]
    rows = [
        (
            f"{budget:.4g}",
            f"{plan['revenue'][b]:.4g}",
            f"{plan['cost'][b]:.4g}",
            f"{plan['violation'][b]:.0%}",
            f"{held['value']:.4g} ± {found['reach'] * held['error']:.2g}",
            f"{held['cost']:.4g}",
        )
        for b, (budget, held) in enumerate(zip(plan["budgets"], plan["held_out"], strict=True))
    ]
    note = (
        f"Formulation {plan['formulation']}. Amounts per head; over: scenarios whose cost exceeds "
        "the budget; held-out: estimated on the test rows."
    )
    columns = ("budget", "revenue", "cost", "over", "held-out revenue", "held-out cost")
    return Table("What that brings and costs", columns, rows, note)


def _student_table(found: Mapping[str, Any]) -> Table:
    student = found["student"]
    rows = [
        (f"{budget:.4g}", f"{same:.1%}", f"{lost + 0.0:.3g}", f"{added + 0.0:.3g}")
        for budget, same, lost, added in zip(
            found["plan"]["budgets"],
            student["treatments"],
            student["revenue_lost"],
            student["cost_added"],
            strict=True,
        )
    ]
    note = (
        f"The classifier ({student['kind']}) names the same segment as the networks for "
        f"{student['segments']:.1%} of the test rows."
    )
    columns = ("budget", "same treatment", "revenue lost per head", "cost added per head")
    return Table("The classifier that serves", columns, rows, note)


def _tree_table(found: Mapping[str, Any]) -> Table:
    tree = found["tree"]
    note = (
        f"Grown for a budget of {tree['budget']:.4g} per head. On the test rows it earns "
        f"{tree['value']:.4g} ± {found['reach'] * tree['error']:.2g} per head for "
        f"{tree['cost']:.4g}."
    )
    return Table(
        "The same in a tree", ("who gets what",), [(line,) for line in tree["lines"]], note
    )


def value_of_plan(axes: "Axes", found: Mapping[str, Any]) -> None:
    """Draw planned and held-out revenue against cost."""
    plan, reach = found["plan"], found["reach"]
    axes.plot(plan["cost"], plan["revenue"], "o-", label="by the tables")
    held = plan["held_out"]
    axes.errorbar(
        [one["cost"] for one in held],
        [one["value"] for one in held],
        [reach * one["error"] for one in held],
        fmt="s",
        capsize=3,
        label="on test rows",
    )
    axes.set(xlabel="cost per head (currency)", ylabel="revenue per head (currency)")
    axes.legend(frameon=False)


def treatments_by_budget(axes: "Axes", found: Mapping[str, Any]) -> None:
    """Draw which treatment each segment gets, budget by budget."""
    plan, names = found["plan"], found["treatments"]
    choice = np.array(plan["choice"]).T
    image = axes.imshow(choice, aspect="auto", cmap="viridis", vmin=0, vmax=max(len(names) - 1, 1))
    axes.set_xticks(range(len(plan["budgets"])), [f"{one:.3g}" for one in plan["budgets"]])
    axes.set_yticks(range(len(choice)), [str(k + 1) for k in range(len(choice))])
    axes.set(xlabel="budget per head (currency)", ylabel="segment")
    bar = axes.figure.colorbar(image, ax=axes, ticks=range(len(names)))
    bar.ax.set_yticklabels([f" {name[:40]}" for name in names])


SEGMENT_PLOTS: Mapping[str, Plot] = {
    "revenue of segments": value_of_plan,
    "treatments of segments": treatments_by_budget,
}
