"""What a run or a comparison comes to, in sentences that name money, interval and chance."""

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["change_words", "comparison_headline", "interval", "money", "run_headline", "verdict"]

_PEOPLE = 1000  # amounts per head are small: sentences are about so many people


def money(value: float, largest: float | None = None) -> str:
    """Write an amount with four digits that say something: ``1,235``, ``0.2500`` as ``0.25``.

    Args:
        value: the amount.
        largest: of the amounts beside it, whose digits it is given; None: its own.
    """
    scale = abs(value if largest is None else largest)
    if scale == 0 or not math.isfinite(scale):
        return f"{value:g}"
    digits = 3 - math.floor(math.log10(scale))
    value = round(value, digits) + 0.0  # no -0
    if digits <= 0:
        return f"{value:,.0f}"
    return f"{value:,.{digits}f}".rstrip("0").rstrip(".")


def interval(found: Mapping[str, float], factor: float = 1.0) -> str:
    """Write ``value [low, high]``, all to the same digit, or the value alone without error."""
    if "low" not in found:
        return money(factor * found["value"])
    ends = [factor * found[key] for key in ("value", "low", "high")]
    value, low, high = (money(one, max(map(abs, ends))) for one in ends)
    return f"{value} [{low}, {high}]"


def verdict(found: Mapping[str, float]) -> str:
    """Say whether a difference is beyond chance, by its interval."""
    if found["low"] > 0:
        return "beyond chance"
    if found["high"] < 0:
        return "a loss beyond chance"
    return "not shown to be beyond chance"


def run_headline(metrics: Mapping[str, Any]) -> list[str]:
    """Return what the first budget buys, per 1,000 people, against the mix and against today.

    Args:
        metrics: content of ``metrics.json``; what an earlier version did not measure is left out.
    """
    first = metrics["budgets"][0]
    given, level = first["given"], metrics.get("level")
    near = metrics.get("nearby", {}).get(given)
    mix = metrics.get("against_best_mix", {}).get(given)
    said = (
        f"Spending {money(_PEOPLE * first['per_head'])} on {_PEOPLE:,} people as "
        f"{metrics['name']} advises earns {interval(first['eom'], _PEOPLE)}"
    )
    if near is not None and near["least"] < first["per_head"]:
        said += (
            f", {_more(near['buys'])} than the least that can be spent, "
            f"{money(_PEOPLE * near['least'])}: {verdict(near['buys'])}"
        )
    sentences = [f"{said}."]
    if mix is None:
        alone = interval(first["constant_mix"], _PEOPLE)
        sentences.append(f"The best constant mix of treatments, without a model, earns {alone}.")
    else:
        sentences.append(
            f"That is {_more(mix)} than the best constant mix of treatments, which needs no model: "
            f"{verdict(mix)}."
        )
    today = metrics.get("as_today")
    if today is not None:
        sentences.append(
            f"Doing as today costs {money(_PEOPLE * today['cost'])} and earns "
            f"{interval(today['revenue'], _PEOPLE)}, by {today['rows']:,} logged rows. For "
            f"{money(_PEOPLE * today['budget'])} the model earns {_more(today['difference'])}: "
            f"{verdict(today['difference'])}, as far as the logged people are like those served."
        )
    by = f" of {level:.0%}" if level is not None else ""
    sentences.append(
        f"Amounts are for {_PEOPLE:,} people, estimated on randomised rows that no part of the "
        f"model saw; in brackets their intervals{by}."
    )
    return sentences


def change_words(metrics: Mapping[str, Any]) -> list[str]:
    """Say what a tenth more and a tenth less of the first budget would change."""
    near = metrics.get("nearby", {}).get(metrics["budgets"][0]["given"])
    if near is None:
        return []
    return [
        f"A tenth {word}, {money(_PEOPLE * near[word]['budget'])} for {_PEOPLE:,} people, would "
        f"change revenue by {interval(near[word], _PEOPLE)}: "
        + (
            "no change is shown."
            if near[word]["low"] <= 0 <= near[word]["high"]
            else "beyond chance."
        )
        for word in ("more", "less")
    ]


def comparison_headline(comparison: Mapping[str, Any]) -> list[str]:
    """Return who earns most at the first budget, and whether that is beyond chance."""
    budget, baseline = comparison["budgets"][0], comparison["baseline"]
    methods = budget["methods"]
    best = max(methods, key=lambda name: methods[name]["eom"]["value"])
    found = methods[best]
    said = (
        f"At budget {budget['given']}, {best} earns most of {len(methods)} methods: "
        f"{interval(found['eom'], _PEOPLE)} for {_PEOPLE:,} people"
    )
    ahead = found.get("eom_difference")
    if ahead is not None and "low" in ahead:
        said += f", {_more(ahead)} than {baseline}: {verdict(ahead)}"
    mix = found.get("against_best_mix")
    if mix is not None and "low" in mix:
        said += f"; {_more(mix)} than the best constant mix of treatments: {verdict(mix)}"
    return [
        f"{said}.",
        "The best of several looks better than it is: read its interval against the others'.",
    ]


def _more(found: Mapping[str, float]) -> str:
    """Write a difference with the word that its sign asks for; a loss has its signs turned."""
    if found["value"] >= 0:
        return f"{interval(found, _PEOPLE)} more"
    turned = {"value": -found["value"]}
    if "low" in found:
        turned |= {"low": -found["high"], "high": -found["low"]}
    return f"{interval(turned, _PEOPLE)} less"
