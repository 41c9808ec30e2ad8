"""The parts of a run's page, in the order in which one asks."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dfl.report.headline import change_words, interval, money
from dfl.report.html import Section
from dfl.report.segments import segment_tables
from dfl.report.tables import Table, run_tables

__all__ = ["numbers_of", "run_sections"]

_CORRECTED = "What the experiment corrected"
_ALARM = 0.001  # p-value of a check that is sounded
_RARE = 0.01  # chance of a treatment that is too small to learn from
_MOVED = 0.1  # standard deviations
_SURE = 3.0  # standard errors
_WIDE = 1.5  # times an interval: about as sure
_OFF = (0.8, 1.25)  # calibration slopes between which predictions are left as they are


def numbers_of(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the page's slider moves over; None: no curve was measured, or not all of one."""
    if not metrics.get("curve") or not metrics.get("mix"):
        return None
    numbers = {
        "treatments": list(metrics["arms"]),
        "curve": metrics["curve"],
        "mix": metrics["mix"],
        "start": metrics["budgets"][0]["per_head"],
        "groups": metrics.get("who", {}).get("groups", {}),
    }
    try:
        json.dumps(numbers, allow_nan=False)
    except ValueError:  # the script could not read NaN
        return None
    return numbers


def run_sections(
    metrics: Mapping[str, Any], config: str, segments: Mapping[str, Any] | None = None
) -> list[Section]:
    """Return the sections of a run's page; what an earlier version did not measure is left out.

    Args:
        metrics: content of ``metrics.json``.
        config: resolved configuration as YAML.
        segments: content of ``segments.json``, or None.
    """
    value, *others = run_tables(metrics)
    sections = [
        Section(
            "What a budget earns",
            change_words(metrics),
            [value],
            ("value against budget", "difference against budget"),
            widget="slider",
        ),
        _who(metrics),
    ]
    if segments is not None:
        sections.append(Section("Kinds of customers", tables=segment_tables(segments)))
    words = (metrics.get("model") or {}).get("words")
    if words:
        (corrected,) = (table for table in others if table.title == _CORRECTED)
        others.remove(corrected)
        told = [*words, corrected.note]
        sections.append(Section(_CORRECTED, told, plots=("what the experiment corrected",)))
    sections.append(
        Section(
            "Can the numbers be trusted?",
            _notes(metrics),
            [*_health(metrics), *others, *_left_out(metrics)],
            ("calibration",),
        )
    )
    sections.append(
        Section(
            "For the author: training and configuration",
            plots=("training",),
            text=config,
            folded=True,
        )
    )
    return sections


def _left_out(metrics: Mapping[str, Any]) -> list[Table]:
    """Return rows, columns and measures that are not there, and why."""
    if "left_out" not in metrics:  # an earlier version did not say
        return []
    found = [*map(tuple, metrics["left_out"])]
    if metrics.get("as_today") is None:
        found.append(("doing as today", "no row says what is done today: there are no logs"))
    unmeasured = [given for given, one in (metrics.get("spend") or {}).items() if one is None]
    if unmeasured:
        why = "it costs nothing, or fewer than 30 test rows received what it gives"
        found.append((f"what an allocation really costs at {', '.join(unmeasured)}", why))
    health = metrics.get("health") or {}
    if health and health["sample_ratio"]["p_value"] is None:
        found.append(("the check of the arms' rows", "their planned shares are not known"))
    if health and health["balance"] is None:
        found.append(
            ("the check that arms are alike", "chances differ by person, or no feature varies")
        )
    columns = ("what", "why")
    return [Table("What was left out, and why", columns, found, words=2)] if found else []


def _who(metrics: Mapping[str, Any]) -> Section:
    who = metrics.get("who")
    if who is None:
        return Section("Who gets what", plots=("mix against budget",))
    rules = [
        (
            " and ".join(rule["if"]) or "everyone",
            rule["treatment"],
            f"{rule['people']:.1%}",
            f"{rule['share']:.0%}",
        )
        for rule in who["rules"]
    ]
    tables = [
        Table(
            f"In words, at {_budget_words(metrics, who['given'])}",
            ("people whose", "mostly get", "of all people", "of whom get it"),
            rules,
            f"A small tree that names the treatment of {who['agreement']:.0%} of the people "
            "rightly; the model itself looks closer.",
            words=2,
        )
    ]
    if who["importance"]:
        changed = [(one["column"], f"{one['changed']:.1%}") for one in who["importance"]]
        note = "Share of people who would get something else if the column were dealt out anew."
        tables.append(Table("What the choice looks at", ("column", "changed"), changed, note))
    return Section("Who gets what", (), tables, ("mix against budget",), widget="groups")


def _budget_words(metrics: Mapping[str, Any], given: str) -> str:
    """Write ``share=0.3`` with the money that it is."""
    (per_head,) = (one["per_head"] for one in metrics["budgets"] if one["given"] == given)
    return f"{given}, which is {money(per_head)} per person"


def _notes(metrics: Mapping[str, Any]) -> list[str]:
    """Return what a reader must know, and every check that sounds an alarm."""
    found = list(metrics.get("notes", ()))
    health = metrics.get("health")
    if health is None:
        return found
    alarms = [
        *_assignment(health),
        *_predictions(health["calibration"]),
        *_people(health, list(metrics["arms"])),
    ]
    return [*found, *(alarms or ["No check of the rows and predictions sounds an alarm."])]


def _assignment(health: Mapping[str, Any]) -> list[str]:
    ratio, balance = health["sample_ratio"], health["balance"]
    found = []
    if ratio["p_value"] is not None and ratio["p_value"] < _ALARM:
        found.append(
            f"The randomised arms do not have the rows that their propensities promise (p = "
            f"{ratio['p_value']:.1g}): find out why before using any number of this page."
        )
    if balance is not None and balance["p_value"] < _ALARM:
        found.append(
            f"Randomised arms differ in {balance['feature']} (p = {balance['p_value']:.1g}, "
            "corrected for the number of features): they may not have been drawn at random."
        )
    return found


def _predictions(calibration: Mapping[str, Any]) -> list[str]:
    found = []
    for what, one in calibration.items():
        seen = one["observed"]
        if abs(one["predicted"] - seen["value"]) > _WIDE * (seen["high"] - seen["value"]):
            found.append(
                f"Mean {what} is predicted as {money(one['predicted'])} per head and is "
                f"{interval(one['observed'])}."
            )
        slope = one["slope"]
        sure = slope is not None and abs(slope - 1) > _SURE * one["slope_error"]
        if sure and not _OFF[0] <= slope <= _OFF[1]:
            found.append(
                f"Where the model predicts 1 more of {what}, {money(slope)} more is observed: its "
                f"differences are too {'large' if slope < 1 else 'small'}."
            )
    return found


def _people(health: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    found = [
        f"{one['feature']} differs by {one['shift']:+.2f} standard deviations between training and "
        "test rows."
        for one in health["drift"]
        if abs(one["shift"]) > max(_MOVED, _SURE * one["error"])
    ]
    rare = [
        name for name, chance in zip(names, health["overlap"] or (), strict=False) if chance < _RARE
    ]
    if rare:
        found.append(
            f"Logged rows hardly tell what {', '.join(rare)} would do to some people: "
            f"one in a hundred had a chance below {_RARE:.0%} to get it."
        )
    return found


def _health(metrics: Mapping[str, Any]) -> list[Table]:
    health = metrics.get("health")
    if health is None:
        return []
    calibrated = [
        (
            what,
            f"{place}",
            f"{group['rows']:,}",
            money(group["predicted"]),
            interval(group["observed"]),
        )
        for what, one in health["calibration"].items()
        for place, group in [
            ("all", one),
            *((f"fifth {k}", part) for k, part in enumerate(one["groups"], start=1)),
        ]
    ]
    tables = [
        Table(
            "Predicted and observed",
            ("amount per head", "test rows by prediction", "rows", "predicted", "observed"),
            calibrated,
            "Under the treatment that each test row received.",
            words=2,
        )
    ]
    matched, ratio = health["matched"], health["sample_ratio"]
    planned, overlap = ratio["planned"], health["overlap"]
    arms = [
        (
            name,
            f"{count:,}",
            *([] if planned is None else [f"{planned[k]:.1%}"]),
            *([] if overlap is None else [f"{overlap[k]:.2%}"]),
        )
        for k, (name, count) in enumerate(zip(metrics["arms"], ratio["counts"], strict=True))
    ]
    columns = ["treatment", "randomised rows"]
    columns += ["planned"] * (planned is not None)
    columns += ["lowest chance in the logs"] * (overlap is not None)
    checked = (
        "planned shares are not known"
        if ratio["p_value"] is None
        else f"p-value of their number against the plan {ratio['p_value']:.3g}"
    )
    tables.append(
        Table(
            "Rows that the comparison rests on",
            columns,
            arms,
            f"Randomised rows of all parts; {checked}. Of the test rows {matched['rows']:,} "
            "received "
            f"what the model gives them, worth {matched['effective']:,.0f} equally weighted ones.",
        )
    )
    drift = [(one["feature"], f"{one['shift']:+.3f}") for one in health["drift"]]
    note = "Difference of means, in standard deviations of the training rows."
    tables.append(Table("Test rows against training rows", ("feature", "moved"), drift, note))
    return tables
