"""The tables and the plot of docs/solvers.md, from the saved figures of test_solvers.py.

``python benchmarks/solver_table.py benchmarks/results/solvers.json docs/solvers.md``
replaces what stands between the two marks in that page, and writes docs/images/solvers.png.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

mpl.use("Agg")

START, END = "<!-- figures: start -->", "<!-- figures: end -->"
FLOOR, BISECTION = "floor: reading both inputs", "bisection of the papers, 50 passes"
CHECKS = "checking the inputs"
SOLVE = [
    "greedy-dual, numba",
    "greedy-dual, compile",
    "greedy-dual, torch",
    "dual-bisection",
    BISECTION,
    "linear-program, highs",
    "HiGHS (SciPy)",
    "linear-program, pdlp",
]
OTHER = [
    ("whole path, numba", "hull and sort of all slopes, torch"),
    ("look-up on a path", "greedy-dual, numba"),
    ("decide, numba", "argmax(1), torch"),
    ("decide, torch", "argmax(1), torch"),
]

Figures = dict[tuple[str, int, int], float]


def read(path: Path) -> tuple[Figures, dict[str, Any], list[str]]:
    """Return seconds by name, rows and treatments (the least), the machine, and memory."""
    saved = json.loads(path.read_text(encoding="utf-8"))
    figures: Figures = {}
    memory = []
    for one in saved["benchmarks"]:
        info = one["extra_info"]
        figures[info["name"], info["rows"], info["treatments"]] = one["stats"]["min"]
        if "peak_over_inputs" in info:
            where = f"{info['name']}, N = {info['rows']:,}, M = {info['treatments']}"
            memory.append(f"- {where}: {info['peak_over_inputs']:.2f} of the inputs")
    return figures, saved["machine_info"], memory


def milliseconds(seconds: float | None) -> str:
    """Write a time, or nothing."""
    return (
        ""
        if seconds is None
        else f"{1000 * seconds:,.3g}"
        if seconds < 1
        else f"{1000 * seconds:,.0f}"
    )


def times(one: float | None, other: float | None, *, pattern: str = "{:,.0f}x") -> str:
    """Write how many times one is of another."""
    return "" if one is None or other is None else pattern.format(one / other)


def solve_table(figures: Figures) -> list[str]:
    """One row per size: milliseconds of each solver, and two ratios."""
    ratios = "bisection / numba | numba and checks / floor"
    lines = [
        f"| N | M | floor | checks | {' | '.join(SOLVE)} | {ratios} |",
        "|--:" * (6 + len(SOLVE)) + "|",
    ]
    for rows, treatments in sorted({key[1:] for key in figures}, key=lambda size: size[::-1]):
        floor, checks = (figures.get((name, rows, treatments)) for name in (FLOOR, CHECKS))
        columns = [figures.get((name, rows, treatments)) for name in SOLVE]
        if not any(columns):
            continue
        best, bisection = columns[0], columns[SOLVE.index(BISECTION)]
        both = None if best is None or checks is None else best + checks
        cells = [f"{rows:,}", str(treatments), *map(milliseconds, (floor, checks, *columns))]
        cells += [times(bisection, best), times(both, floor, pattern="{:.1f}x")]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def other_table(figures: Figures) -> list[str]:
    """Path, look-up and decision beside what they are held against."""
    lines = ["| N | M | what | ms | beside | ms | ratio |", "|--:|--:|---|--:|---|--:|--:|"]
    for rows, treatments in sorted({key[1:] for key in figures}, key=lambda size: size[::-1]):
        for name, peer in OTHER:
            one, other = (figures.get((key, rows, treatments)) for key in (name, peer))
            if one is not None and other is not None:
                cells = [f"{rows:,}", str(treatments), name, milliseconds(one), peer]
                cells += [milliseconds(other), times(other, one, pattern="{:.2f}x")]
                lines.append("| " + " | ".join(cells) + " |")
    return lines


def plot(figures: Figures, path: Path) -> None:
    """Draw time against rows at eight treatments, with the floor."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for name in [*SOLVE, FLOOR]:
        points = sorted((key[1], value) for key, value in figures.items() if key[::2] == (name, 8))
        if points:
            style = {"color": "black", "linestyle": "--"} if name == FLOOR else {"marker": "o"}
            axes.plot(*zip(*points, strict=True), label=name, **style)
    axes.set(xscale="log", yscale="log", xlabel="people", ylabel="CPU seconds, one thread")
    axes.set_title("One budget, eight treatments, float32")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def main() -> None:
    """Read the figures, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("page", type=Path)
    given = parser.parse_args()
    figures, machine, memory = read(given.results)
    words = f"{machine['cpu']}, one thread, Python {machine['python_version']}; milliseconds."
    body = [START, "", words, "", *solve_table(figures), "", *other_table(figures), ""]
    body += ["Most memory above the inputs:", "", *memory, "", END]
    page = given.page.read_text(encoding="utf-8")
    before, after = page.split(START)[0], page.split(END)[1]
    given.page.write_text(before + "\n".join(body) + after, encoding="utf-8")
    plot(figures, given.page.parent / "images" / "solvers.png")


if __name__ == "__main__":
    main()
