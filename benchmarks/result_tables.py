"""Draws the tables of studies in the documents from the committed rows.

    python -m benchmarks.result_tables              # writes what stands between the marks
    python -m benchmarks.result_tables --check      # says which tables are not those of the rows
    python -m benchmarks.result_tables --take runs/table2 table2    # adds a run's rows first

Rows lie in ``results/NAME.parquet``, one per data set, method and seed. A table stands between
``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``; what it says is made here alone. Values are
means with 95 % intervals by Student's t over seeds, differences are paired.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, final

from dfl.pipeline.suite_results import RESULTS, SuiteResults
from dfl.report.suite_numbers import SuiteNumbers

ROOT = Path(__file__).resolve().parent.parent
SHARE, ON_BOTH, SECOND = "share_of_gain", "tsm-sl", "EOM in Marketing II"
NAMES = {
    "tsm-sl-rct": "TSM-SL on RCT",
    "tsm-cf-rct": "Causal forest on RCT",
    "dhcl-drp": "DHCL (DRP)",
    "dhcl-dpm": "DHCL (DPM)",
    "dfcl-dpl": "DFCL-DPL",
    "dfcl-difd": "DFCL-DIFD",
    "dfcl-ppl": "DFCL-PPL",
    "dfcl-pifd": "DFCL-PIFD",
    "tsm-sl-obs": "TSM-SL on OBS",
    "tsm-cf-obs": "Causal forest on OBS",
    "ips": "IPS",
    "dr-jt": "DR-JT",
    "cfr-wass": "CFR-WASS",
    "cfr-mmd": "CFR-MMD",
    "dragonnet": "DragonNet",
    "tsm-sl": "TSM-SL on both",
    "cause": "CausE",
    "kd-label": "KD-Label",
    "kd-feature": "KD-Feature",
    "ltd-ips": "LTD-IPS",
    "ltd-dr": "LTD-DR",
    "auto-debias": "AutoDebias",
    "bi-dfcl-ppl": "Bi-DFCL-PPL",
    "bi-dfcl-pifd": "Bi-DFCL-PIFD",
    "grounded": "Grounded (ours, not the paper's)",
    "bi-dfcl-weighted": "Bi-DFCL, weighted factual rows",
    "bi-dfcl-explicit": "Bi-DFCL, explicit (5 unrolled steps)",
    "bi-dfcl, implicit": "Bi-DFCL, implicit (10 products)",
    "bi-dfcl, no refit": "the same without refit",
    "bi-dfcl, pifd": "Bi-DFCL-PIFD, implicit",
}
INTERVALS = "Intervals are 95 %, Student's t, differences paired"
Cell = Callable[[str], str]  # of a method
Column = tuple[str, Cell]


@final
@dataclass(frozen=True)
class Rows:
    """The rows of a suite, by data set and method.

    Args:
        name: of the suite and its file.
    """

    name: str

    @property
    def numbers(self) -> SuiteNumbers:
        return _numbers(self.name)

    def values(self, metric: str, data: str, method: str) -> dict[int, float]:
        return self.numbers.values(metric, data, method)

    def mean(self, metric: str, data: str, method: str) -> float:
        found = [*self.values(metric, data, method).values()]
        return sum(found) / len(found) if found else math.nan

    def seeds(self, data: str, methods: Sequence[str], metric: str) -> int:
        """Return how many seeds every method that is there has."""
        counts = [len(self.values(metric, data, one)) for one in methods]
        return min(filter(None, counts), default=0)

    def paired(self, metric: str, data: str, method: str, other: str) -> dict[str, float]:
        """Return the paired difference of two methods; empty where no seed has both."""
        return self.numbers.against(metric, data, method, reference=other) or {}

    def time(self, data: str, method: str, other: str) -> str:
        """Say how many times the training of another a method takes."""
        if method == other:
            return "1.0"
        found = self.numbers.against("cpu_seconds", data, method, reference=other, ratio=True)
        return "" if found is None else f"{found['value']:.1f}"

    def value(
        self, metric: str, data: str, digits: int, method: str, *, signed: bool = False
    ) -> str:
        found = self.numbers.mean(metric, data, method)
        return "" if found is None else interval(found, digits, signed=signed)

    def plain(self, metric: str, data: str, digits: int, method: str) -> str:
        found = self.mean(metric, data, method)
        return "" if math.isnan(found) else f"{found:.{digits}f}"

    def difference(self, metric: str, data: str, other: str, digits: int, method: str) -> str:
        found = self.paired(metric, data, method, other)
        return interval(found, digits, signed=True) if found else ""


@cache
def _numbers(name: str) -> SuiteNumbers:
    found = SuiteResults.read(path_of(name))
    return SuiteNumbers(found.config, found.rows)


def path_of(name: str) -> Path:
    """Return the file of the rows of a suite."""
    return ROOT / "benchmarks" / "results" / f"{name}.parquet"


def interval(found: dict[str, float], digits: int, *, signed: bool = False) -> str:
    """Say a mean with half of its interval."""
    text = f"{found['value']:{'+' if signed else ''}.{digits}f}"
    if "high" in found:
        text += f" ± {found['high'] - found['value']:.{digits}f}"
    return text


def table(first: str, columns: Sequence[Column], methods: Sequence[str]) -> str:
    """Return a table with a row for each method."""
    lines = [[NAMES.get(one, one), *(cell(one) for _, cell in columns)] for one in methods]
    return markdown([first, *(title for title, _ in columns)], lines)


def markdown(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = f"|{'---|' * len(headings)}"
    first, *rest = (f"| {' | '.join(row)} |" for row in (headings, *lines))
    return "\n".join([first.replace("|  |", "| |"), rule, *rest])


def said(drawn: str, *sentences: str) -> str:
    """Return a table with a line below."""
    return f"{drawn}\n\n{' '.join(sentences)}"


def table2() -> str:
    rows = Rows("table2")
    methods, small = rows.numbers.methods, "criteo-like"
    paper = rows.numbers.config["paper"]["AUCC on Criteo Hybrid"]
    columns: list[Column] = [
        ("`coupon`: share of gain at .3", partial(rows.value, f"{SHARE}@share=0.3", "coupon", 3)),
        (
            "against TSM-SL on both",
            partial(rows.difference, f"{SHARE}@share=0.3", "coupon", ON_BOTH, 3),
        ),
        *(
            (f"at .{at}", partial(rows.plain, f"{SHARE}@share=0.{at}", "coupon", 3))
            for at in (1, 5)
        ),
        ("time", lambda one: rows.time("coupon", one, ON_BOTH)),
        ("`criteo-like`: true AUCC", partial(rows.value, "true_aucc", small, 4)),
        ("against TSM-SL on both", partial(rows.difference, "true_aucc", small, ON_BOTH, 4)),
        ("time", lambda one: rows.time(small, one, ON_BOTH)),
        ("paper: AUCC", lambda one: paper.get(one, "")),
    ]
    seeds = rows.seeds("coupon", methods, f"{SHARE}@share=0.3")
    return said(
        table("method", columns, methods),
        f"`coupon`: {seeds} seeds; `criteo-like`: {rows.seeds(small, methods, 'true_aucc')} seeds, "
        f"oracle {rows.mean('oracle_aucc', small, ON_BOTH):.3f}.",
        f"{INTERVALS}; time is training in processor seconds over TSM-SL on both, in the run that "
        "made the row (today's stand on the pages of the [methods](methods/two_stage.md)).",
    )


def real() -> str:
    rows = Rows("table2")
    files = [one for one in ("hillstrom", "gotv", "thornton-hiv") if rows.numbers.of(one)]
    digits = {"hillstrom": 3, "gotv": 4, "thornton-hiv": 3}
    columns: list[Column] = []
    for data in files:
        eom, over = "eom@share=0.3", "over_mix@share=0.3"
        columns += [
            (f"`{data}`: value a head at .3", partial(rows.value, eom, data, digits[data])),
            ("against TSM-SL on both", partial(rows.difference, eom, data, ON_BOTH, digits[data])),
            (
                "over the best constant mix",
                partial(rows.value, over, data, digits[data], signed=True),
            ),
        ]
    methods = rows.numbers.methods
    splits = [f"{rows.seeds(one, methods, 'eom@share=0.3')} of `{one}`" for one in files]
    return said(
        table("method", columns, methods),
        f"Splits: {', '.join(splits)}.",
        "Splits share rows, so the intervals, Student's t over splits, are too narrow.",
    )


def table3() -> str:
    rows, metric = Rows("table3"), f"{SHARE}@share=0.3"
    methods, columns = [*rows.numbers.methods], list[Column]()
    for data in rows.numbers.data:
        columns += [
            (f"{data}: share of gain at .3", partial(rows.value, metric, data, 3)),
            ("against TSM-SL on both", partial(rows.difference, metric, data, ON_BOTH, 3)),
            *(
                (f"at .{at}", partial(rows.plain, f"{SHARE}@share=0.{at}", data, 3))
                for at in (1, 5)
            ),
            ("value over TSM-SL on RCT", partial(_relative, rows, data)),
        ]
    for title in ("EOM in Marketing I", SECOND):
        words = rows.numbers.config["paper"][title]
        columns.append((f"paper: {title}", partial(_word, words)))
    seeds = ", ".join(
        f"{rows.seeds(data, methods, metric)} of {data}" for data in rows.numbers.data
    )
    return said(table("method", columns, methods), f"Seeds: {seeds}. {INTERVALS}.")


def _relative(rows: Rows, data: str, method: str) -> str:
    """Return the true value at .3 as a multiple of that of TSM-SL on the randomised rows."""
    value = "true_value@share=0.3"
    found = rows.numbers.against(value, data, method, reference=PLAIN[1], ratio=True)
    return "1.0000" if method == PLAIN[1] else interval(found, 4) if found else ""


def _word(words: dict[str, str], method: str) -> str:
    return words.get(method, "")


def size() -> str:
    rows, metric = Rows("rct-size"), f"{SHARE}@share=0.3"

    def cell(data: str, method: str) -> str:
        if method == ON_BOTH:
            return rows.value(metric, data, 3, method)
        less = rows.difference(metric, data, ON_BOTH, 3, method)
        return f"{rows.plain(metric, data, 3, method)} ({less})"

    columns: list[Column] = [(data, partial(cell, data)) for data in rows.numbers.data]
    return said(
        table("method", columns, rows.numbers.methods),
        "Share of the oracle's gain at .3, hidden confounding .5, 20 seeds; in brackets the paired "
        "difference to TSM-SL on both, 95 %.",
    )


def one_data_set(name: str, reference: str, paper: str = "") -> str:
    """Return the table of a suite with one data set."""
    rows, metric = Rows(name), f"{SHARE}@share=0.3"
    (data,) = rows.numbers.data
    called = NAMES.get(reference, reference)
    columns: list[Column] = [
        ("share of gain", partial(rows.value, metric, data, 3)),
        (f"against {called}", partial(rows.difference, metric, data, reference, 3)),
        ("time", lambda one: rows.time(data, one, reference)),
    ]
    if paper:
        words = rows.numbers.config["paper"][paper]
        columns.append(("paper", lambda one: words.get(one, "")))
    seeds = rows.seeds(data, rows.numbers.methods, metric)
    return said(
        table("", columns, rows.numbers.methods),
        f"{seeds} seeds. {INTERVALS}; time is training in processor seconds over {called}.",
    )


def layers() -> str:
    rows, metric = Rows("layers"), f"{SHARE}@share=0.3"
    (data,) = rows.numbers.data

    def less_softmax(one: str) -> str:
        reference = f"{one.partition(',')[0]}, softmax"
        alone = one in (reference, ON_BOTH)
        return "" if alone else rows.difference(metric, data, reference, 3, one)

    columns: list[Column] = [
        ("share of gain", partial(rows.value, metric, data, 3)),
        ("against softmax", less_softmax),
        ("against TSM-SL", partial(rows.difference, metric, data, ON_BOTH, 3)),
        ("time", lambda one: rows.time(data, one, ON_BOTH)),
        ("seeds", lambda one: str(len(rows.values(metric, data, one)))),
    ]
    oracle, mix = (rows.mean(f"{name}@share=0.3", data, ON_BOTH) for name in ("oracle", "true_mix"))
    return said(
        table("", columns, rows.numbers.methods),
        f"Oracle {oracle:.3f}, best constant mix {mix:.3f} a head. {INTERVALS}; time is training "
        "in processor seconds over TSM-SL on both.",
    )


def training() -> str:
    rows = Rows("training")
    methods, columns = rows.numbers.methods, list[Column]()
    for data in rows.numbers.data:
        metric = "true_aucc" if data == "criteo-like" else f"{SHARE}@share=0.3"
        called = "true AUCC" if data == "criteo-like" else "share of gain at .3"
        columns += [
            (f"{data}: {called}", partial(rows.plain, metric, data, 3)),
            ("against before", partial(rows.difference, metric, data, "before", 3)),
        ]
    seeds = ", ".join(
        f"{min(len(rows.values('cpu_seconds', data, one)) for one in methods)} of `{data}`"
        for data in rows.numbers.data
    )
    oracle = rows.mean("oracle_aucc", "criteo-like", "before")
    return said(
        table("", columns, methods),
        f"Seeds: {seeds}. {INTERVALS}.",
        f"The oracle's true AUCC on `criteo-like` is {oracle:.3f}.",
    )


PLAIN = ("tsm-sl", "tsm-sl-rct", "kd-label")
IN_WORLDS = {
    **NAMES,
    "kd-label": "KD-Label, gate .3",
    "gate 1": "KD-Label, gate 1",
    "bi-dfcl-ppl": "Bi-DFCL (PPL)",
    "grounded": "Grounded (TSM-SL)",
}
ALL_ROWS = tuple(f"{one}, all rows" for one in PLAIN)


def _worlds(rows: Rows) -> list[str]:
    return [one for one in rows.numbers.data if one != "people alike"]


def _best(rows: Rows, metric: str, data: str, methods: Sequence[str]) -> str:
    return max(methods, key=lambda one: rows.mean(metric, data, one))


@final
class Tally:
    """Counts how often `grounded` is ahead."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, float]] = {}

    def add(self, data: str, found: dict[str, float]) -> str:
        """Note a difference; return it in words."""
        self._found[data] = found
        return interval(found, 3, signed=True)

    def __str__(self) -> str:
        ahead = sum(one["value"] > 0 for one in self._found.values())
        sure = sum(one["low"] > 0 for one in self._found.values())
        behind = [
            data for data, one in self._found.items() if one["value"] < -2 * one["standard_error"]
        ]
        lost = f"in: {', '.join(behind)}" if behind else "nowhere"
        return (
            f"At .3 Grounded is ahead on average in {ahead} of {len(self._found)} worlds, with "
            f"an interval off zero in {sure}; behind by more than two standard errors {lost}."
        )


def worlds() -> str:
    rows, at, tally = Rows("worlds"), f"{SHARE}@share=0.3", Tally()
    lines, all_of = [], (*PLAIN, "grounded")
    for data in _worlds(rows):
        best = _best(rows, at, data, PLAIN)
        ahead = tally.add(data, rows.paired(at, data, "grounded", best))
        others = []
        for share in (1, 5):
            metric = f"{SHARE}@share=0.{share}"
            second = _best(rows, metric, data, PLAIN)
            others.append(rows.difference(metric, data, second, 3, "grounded"))
        values = (rows.plain(at, data, 3, one) for one in all_of)
        seeds = str(rows.seeds(data, all_of, at))
        lines.append([data, seeds, *values, f"{ahead} ({IN_WORLDS[best]})", *others])
    headings = [
        "world", "seeds", *(IN_WORLDS[one] for one in all_of),
        "Grounded against the best of the others", "at .1", "at .5",
    ]  # fmt: skip
    return said(markdown(headings, lines), f"{tally}\n{_alike(rows, all_of)}")


def _alike(rows: Rows, methods: Sequence[str]) -> str:
    """Say what is lost where people are alike."""
    data, value = "people alike", "true_value@share=0.3"
    mix = rows.mean("true_mix@share=0.3", data, ON_BOTH)
    lost = [f"{IN_WORLDS[one]} {mix - rows.mean(value, data, one):.3f}" for one in methods]
    best = _best(rows, value, data, PLAIN)
    return (
        "Where people are alike nobody can gain over the mix, and whoever tells people apart "
        f"loses: at .3, of {mix:.2f} a head, {', '.join(lost)} "
        f"({rows.seeds(data, methods, value)} seeds); Grounded against {IN_WORLDS[best]}, the best "
        f"of the others, {rows.difference(value, data, best, 3, 'grounded')} a head."
    )


def all_rows() -> str:
    rows, at, tally, lines = Rows("worlds"), f"{SHARE}@share=0.3", Tally(), []
    around = ("grounded tsm-sl-rct", "grounded kd-label", "grounded-in-sample")
    for data in _worlds(rows):
        if not all(rows.values(at, data, one) for one in ALL_ROWS):
            continue
        best = _best(rows, at, data, ALL_ROWS)
        called = IN_WORLDS[best.removesuffix(", all rows")]
        line = [data, str(rows.seeds(data, ALL_ROWS, at))]
        line.append(f"{rows.plain(at, data, 3, best)} ({called})")
        line.append(tally.add(data, rows.paired(at, data, "grounded", best)))
        for share in (1, 5):
            metric = f"{SHARE}@share=0.{share}"
            second = _best(rows, metric, data, ALL_ROWS)
            line.append(rows.difference(metric, data, second, 3, "grounded"))
        line += [rows.difference(at, data, "grounded", 3, one) for one in around]
        lines.append([*line, str(rows.seeds(data, around, at))])
    headings = [
        "world", "seeds", "best of the three with all rows", "Grounded less this", "at .1", "at .5",
        "Grounded (TSM-SL on RCT) less Grounded", "Grounded (KD-Label) less Grounded",
        "Grounded in sample less Grounded", "seeds of the last three",
    ]  # fmt: skip
    return said(markdown(headings, lines), str(tally))


AMOUNTS = {"none": "0", "half": ".5", "full": "1"}


def hidden() -> str:
    rows, at = Rows("hidden"), f"{SHARE}@share=0.3"
    lines = []
    for data in rows.numbers.data:
        for method in rows.numbers.methods:
            if rows.values(at, data, method):
                shares = [
                    rows.value(f"{SHARE}@share=0.{one}", data, 3, method) for one in (1, 3, 5, 8)
                ]
                less = rows.difference(at, data, method, 3, "grounded")
                seeds = str(len(rows.values(at, data, method)))
                lines.append([AMOUNTS[data], IN_WORLDS[method], seeds, *shares, less])
    headings = [
        "hidden confounding", "method", "seeds", *(f"at .{one}" for one in (1, 3, 5, 8)),
        "Grounded less this at .3",
    ]  # fmt: skip
    return markdown(headings, lines)


def biased() -> str:
    rows = Rows("biased")
    lines, digits = [], 3
    for data in rows.numbers.data:
        for share in (1, 3, 5):
            over, eom = f"over_mix@share=0.{share}", f"eom@share=0.{share}"
            methods = (*PLAIN, "grounded")
            less = [rows.difference(eom, data, one, digits, "grounded") for one in PLAIN[:2]]
            lines.append(
                [data, f".{share}", str(rows.seeds(data, methods, over))]
                + [rows.value(over, data, digits, one, signed=True) for one in methods]
                + less
            )
    names = [f"{IN_WORLDS[one]} over the mix" for one in (*PLAIN, "grounded")]
    headings = [
        "data", "budget share", "splits", *names, "Grounded less TSM-SL on both", "less RCT",
    ]  # fmt: skip
    return markdown(headings, lines)


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "table2": ("results.md", table2),
    "real": ("results.md", real),
    "table3": ("results.md", table3),
    "size": ("results.md", size),
    "ablation": ("results.md", partial(one_data_set, "ablation", "tsm-sl-rct", paper=SECOND)),
    "layers": ("layers.md", layers),
    "training": ("training.md", training),
    "hypergradients": (
        "hypergradients.md",
        partial(one_data_set, "hypergradients", "gauss-newton, 10 products"),
    ),
    "sensitivity": (
        "hypergradients.md",
        partial(one_data_set, "sensitivity", "k = 5, n_cg = 10", paper=SECOND),
    ),
    "worlds": ("when_does_it_pay.md", worlds),
    "all rows": ("when_does_it_pay.md", all_rows),
    "hidden": ("when_does_it_pay.md", hidden),
    "biased": ("when_does_it_pay.md", biased),
}  # fmt: skip


def drawn() -> Iterator[tuple[Path, str, str]]:
    """Yield the document, what it says and what it should say, of each table."""
    for name, (document, draw) in TABLES.items():
        path = ROOT / "docs" / document
        text = path.read_text()
        begin, end = (f"<!-- {name}: {one} -->" for one in ("begin", "end"))
        before, _, rest = text.partition(f"{begin}\n")
        _, found, after = rest.partition(f"{end}")
        if not found:
            raise SystemExit(f"{path} has no {begin} ... {end}.")
        yield path, text, f"{before}{begin}\n{draw()}\n{end}{after}"


def take(folder: Path, name: str) -> None:
    """Add the rows of a run folder to the committed ones."""
    new, path = SuiteResults.read(folder / RESULTS), path_of(name)
    old: Sequence[Any] = SuiteResults.read(path).rows if path.exists() else ()
    replace(new, path=path, rows=old).with_rows(new.rows).write()
    _numbers.cache_clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--take", nargs=2, action="append", default=[], metavar=("FOLDER", "NAME"))
    options = parser.parse_args()
    for folder, name in options.take:
        take(Path(folder), name)
    stale = []
    for path, said, should in drawn():
        if said != should:
            stale.append(path.name)
            if not options.check:
                path.write_text(should)
    print(f"changed: {', '.join(dict.fromkeys(stale)) or 'none'}")
    raise SystemExit(1 if options.check and stale else 0)


if __name__ == "__main__":
    main()
