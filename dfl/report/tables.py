"""Tables of results, the same for the terminal and for the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

__all__ = ["Table", "arms_table", "comparison_tables", "run_tables"]


@final
@dataclass(frozen=True)
class Table:
    """A table of text.

    Args:
        title: of the table.
        columns: headings.
        rows: cells.
        note: what the reader must know, or empty.
        words: how many columns at the left hold words and are aligned left.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    words: int = 1


_ROWS = (
    "rct (randomised) and obs (logged) train, validation chooses epochs and weight decay, test is "
    "what values above are estimated on."
)


_CORRECTED = (
    "Shares of the average revenue, for a person whose prediction is average. The sentences on "
    "evidence are to be read; nothing is switched on by them."
)


def run_tables(metrics: Mapping[str, Any]) -> list[Table]:
    """Return the tables of one run.

    Args:
        metrics: content of ``metrics.json``.
    """
    tables = [_value_table(metrics), arms_table(metrics)]
    if "rows" in metrics:
        counts = [(part, f"{rows:,}") for part, rows in metrics["rows"].items()]
        tables.insert(1, Table("Rows", ("part", "rows"), counts, _ROWS))
    words = (metrics.get("model") or {}).get("words")
    if words:
        told = [(sentence,) for sentence in words]
        tables.append(Table("What the experiment corrected", ("in words",), told, _CORRECTED))
    area = metrics.get("aucc")
    if area is not None:
        cell = area["undefined"] if "undefined" in area else _interval(area)
        tables.append(Table("Area under the cost curve", ("metric", "value"), [("AUCC", cell)]))
    return tables


def arms_table(metrics: Mapping[str, Any]) -> Table:
    """Return mean revenue and cost of every treatment on the test rows."""
    rows: list[tuple[str, ...]] = [
        (name, f"{arm['rows']:,}", _number(arm["revenue"]), _number(arm["cost"]))
        for name, arm in metrics["arms"].items()
    ]
    columns = ["treatment", "rows", "revenue", "cost"]
    ratios = metrics.get("arm_costs")
    if ratios is not None:
        columns.append("true cost / predicted")
        rows = [(*row, _interval(ratios.get(row[0]), "", ".3f")) for row in rows]
    return Table("Treatments on the test rows", columns, rows, metrics.get("source") or "")


def comparison_tables(comparison: Mapping[str, Any]) -> list[Table]:
    """Return one table per budget of a comparison.

    Args:
        comparison: content of ``comparison.json``.
    """
    return [_comparison_table(comparison, budget) for budget in comparison["budgets"]]


def _value_table(metrics: Mapping[str, Any]) -> Table:
    known = "true" in metrics["budgets"][0]
    against, spend = (metrics.get(key) or {} for key in ("against_best_mix", "spend"))
    columns = ["budget", "per head", "estimated value", "best constant mix"]
    columns += ["minus best mix"] * bool(against) + ["random"]
    columns += ["true cost / predicted"] * bool(spend)
    columns += ["true value", "oracle", "share of gain"] if known else []
    rows = []
    mixed = []
    for budget in metrics["budgets"]:
        row = [budget["given"], _number(budget["per_head"]), _interval(budget["eom"])]
        row.append(_interval(budget["constant_mix"]))
        row += [_interval(against.get(budget["given"]), "+")] * bool(against)
        row.append(_interval(budget["random"]))
        row += [_interval(spend.get(budget["given"]), "", ".3f")] * bool(spend)
        if known:
            true = budget["true"]
            row += [_number(true["value"]), _number(true["oracle"]), _share(true["share_of_gain"])]
        rows.append(row)
        if budget["mixed_with_cheapest"] > 0:
            mixed.append(f"{budget['given']}: {budget['mixed_with_cheapest']:.0%}")
    note = "Revenue per head on the test rows; intervals are bootstrap."
    if mixed:
        note += (
            " No multiplier of this model meets the budget, so people were moved to the cheapest "
            f"treatment ({'; '.join(mixed)})."
        )
    note += _against_mix(against) + _overspent(spend)
    return Table(f"{metrics['name']}: value within the budget", columns, rows, note)


def _against_mix(against: Mapping[str, Mapping[str, float]], where: str = "at") -> str:
    """Say where, or for which, a model is no better than the best constant mix of treatments."""
    worse = [given for given, one in against.items() if one["high"] < 0]
    unclear = [given for given, one in against.items() if one["low"] <= 0 <= one["high"]]
    text = ""
    if worse:
        text += (
            f" LESS than the best constant mix of treatments, which needs no model, {where} "
            f"{', '.join(worse)}: use the mix there."
        )
    if unclear:
        text += f" Not shown to earn more than the best constant mix {where} {', '.join(unclear)}."
    return text


def _overspent(spend: Mapping[str, Mapping[str, float] | None]) -> str:
    """Say where allocations by predicted costs are shown to cost more than predicted."""
    over = {given: one for given, one in spend.items() if one and one["low"] > 1}
    if not over:
        return ""
    shown = "; ".join(f"{given}: {_interval(one, '', '.3f')} times" for given, one in over.items())
    share = min(1 / one["high"] for one in over.values())
    return (
        f" An allocation by predicted costs really costs more than predicted ({shown}): to stay "
        f"within money that is fixed, allocate {share:.1%} of it (dfl allocate --margin)."
    )


def _comparison_table(comparison: Mapping[str, Any], budget: Mapping[str, Any]) -> Table:
    baseline = comparison["baseline"]
    policies = budget["methods"] | budget["references"]
    known = "true_value" in budget["methods"][baseline]
    mixes = {name: one.get("against_best_mix") for name, one in budget["methods"].items()}
    columns = ["method", "estimated value", f"minus {baseline}"]
    columns += ["minus best mix"] * any(mixes.values())
    columns += ["true value", "share of the oracle's gain", f"minus {baseline}"] if known else []
    rows = []
    for name, found in policies.items():
        row = [name, _interval(found.get("eom")), _interval(found.get("eom_difference"), "+")]
        row += [_interval(mixes.get(name), "+")] * any(mixes.values())
        if known:
            row.append(_interval(found["true_value"]))
            row.append(_interval(found.get("share_of_gain"), "", ".3f"))
            row.append(_interval(found.get("share_of_gain_difference"), "+", ".3f"))
        rows.append(row)
    told = _against_mix({name: one for name, one in mixes.items() if one and "low" in one}, "for")
    return Table(f"Budget {budget['given']}", columns, rows, comparison["note"] + told)


def _interval(found: Mapping[str, float] | None, sign: str = "", form: str = ".4g") -> str:
    """Write ``value [low, high]``, or the value alone where no error is known."""
    if found is None:
        return ""
    value = format(found["value"], sign + form)
    if "low" not in found:
        return value
    return f"{value} [{found['low']:{form}}, {found['high']:{form}}]"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
