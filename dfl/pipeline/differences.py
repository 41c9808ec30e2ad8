"""What a comparison says: every method, every difference, each with an interval."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dfl.config import Comparison
from dfl.metrics import paired_difference
from dfl.pipeline.yardstick import Evaluation, estimate_to_dict
from dfl.stats import across

__all__ = ["summary"]

_References = Mapping[str, Callable[[Mapping[str, Any]], float | None]]


def summary(
    comparison: Comparison,
    metrics: Mapping[str, Sequence[Mapping[str, Any]]],
    evaluations: Mapping[str, Evaluation],
) -> dict[str, object]:
    """Return the content of ``comparison.json``.

    Args:
        comparison: what was compared.
        metrics: method to its metrics, one per seed.
        evaluations: method to its evaluation, where there is one seed; else empty.
    """
    level = comparison.studies[0].evaluation.level
    if evaluations:
        note = (
            f"Revenue per head; {level:.0%} intervals by bootstrap over test rows, paired for "
            "differences. True values of one seed have no interval."
        )
    else:
        note = (
            f"Revenue per head, mean of {comparison.seeds} seeds; {level:.0%} intervals by "
            "Student's t over seeds, paired for differences."
        )
    return {
        "data": comparison.studies[0].data_name,
        "baseline": comparison.baseline,
        "seeds": comparison.seeds,
        "level": level,
        "note": note,
        "budgets": [
            _at_budget(comparison, metrics, evaluations, index, level)
            for index in range(len(comparison.studies[0].budgets))
        ],
    }


def _at_budget(
    comparison: Comparison,
    metrics: Mapping[str, Sequence[Mapping[str, Any]]],
    evaluations: Mapping[str, Evaluation],
    index: int,
    level: float,
) -> dict[str, object]:
    found = {name: [one["budgets"][index] for one in seeds] for name, seeds in metrics.items()}
    base = found[comparison.baseline]
    methods: dict[str, dict[str, object]] = {}
    for name, seeds in found.items():
        methods[name] = entry = _summarise(seeds, "eom", "value", level)
        if all("against_best_mix" in one for one in metrics[name]):  # older folders have none
            entry["against_best_mix"] = _against_mix(metrics[name], seeds, level)
        if name == comparison.baseline:
            continue
        if evaluations:
            first, second = (evaluations[one] for one in (name, comparison.baseline))
            pair = paired_difference(
                first.expected[index].estimate, second.expected[index].estimate, level=level
            )
            entry["eom_difference"] = {**estimate_to_dict(pair.estimate), "p_value": pair.p_value}
        else:
            entry["eom_difference"] = across(_minus(seeds, base, _eom), level)
        if _known(seeds):
            entry["share_of_gain_difference"] = across(_minus(seeds, base, _share), level)
    references = {
        label: _summarise(base, key, key, level)
        for label, key in (("best constant mix", "constant_mix"), ("random", "random"))
    }
    if "true" in base[0]:
        references["oracle"] = _summarise(base, None, "oracle", level)
    return {"given": base[0]["given"], "methods": methods, "references": references}


def _against_mix(
    metrics: Sequence[Mapping[str, Any]], seeds: Sequence[Mapping[str, Any]], level: float
) -> dict[str, float]:
    """Return what a method earns more than the best constant mix, at the budget of ``seeds``."""
    found = [one["against_best_mix"][at["given"]] for one, at in zip(metrics, seeds, strict=True)]
    return found[0] if len(found) == 1 else across([one["value"] for one in found], level)


def _summarise(
    seeds: Sequence[Mapping[str, Any]], logged: str | None, true: str, level: float
) -> dict[str, object]:
    """Summarise one policy: estimated value, and true value and share where known.

    Args:
        seeds: what is known at one budget, per seed.
        logged: key of its estimated value, or None where it has none.
        true: key of its true value.
        level: confidence level.
    """
    entry: dict[str, object] = {}
    if logged is not None:
        estimates = [one[logged] for one in seeds]
        values = [one["value"] for one in estimates]
        entry["eom"] = dict(estimates[0]) if len(seeds) == 1 else across(values, level)
    if "true" in seeds[0]:
        entry["true_value"] = across([one["true"][true] for one in seeds], level)
    if _known(seeds):
        shares = [_share_of_gain(one["true"], one["true"][true]) for one in seeds]
        entry["share_of_gain"] = across(shares, level)
    return entry


def _share_of_gain(true: Mapping[str, float], value: float) -> float:
    return (value - true["constant_mix"]) / (true["oracle"] - true["constant_mix"])


def _known(seeds: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether the share of the oracle's gain is defined in every seed."""
    return all(one.get("true", {}).get("share_of_gain") is not None for one in seeds)


def _minus(
    seeds: Sequence[Mapping[str, Any]],
    base: Sequence[Mapping[str, Any]],
    value: Callable[[Mapping[str, Any]], float],
) -> list[float]:
    return [value(one) - value(other) for one, other in zip(seeds, base, strict=True)]


def _eom(one: Mapping[str, Any]) -> float:
    return float(one["eom"]["value"])


def _share(one: Mapping[str, Any]) -> float:
    return float(one["true"]["share_of_gain"])
