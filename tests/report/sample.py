"""Results as a run folder holds them."""

from typing import Any

__all__ = ["SEGMENTS", "comparison", "estimate", "full_metrics", "history", "metrics"]


def estimate(value: float) -> dict[str, float]:
    return {"value": value, "standard_error": 0.5, "low": value - 1, "high": value + 1}


def metrics(*, truth: bool = True, mixed: float = 0.0) -> dict[str, Any]:
    budget: dict[str, Any] = {
        "given": "share=0.3",
        "per_head": 0.25,
        "eom": estimate(5.0),
        "constant_mix": estimate(4.0),
        "random": estimate(3.0),
        "mixed_with_cheapest": mixed,
    }
    curve: list[dict[str, Any]] = [
        {"budget": b, "value": v, "low": v - 1, "high": v + 1, "constant_mix": v, "random": v}
        for b, v in ((0.0, 2.0), (0.5, 5.0), (1.0, 6.0))
    ]
    if truth:
        budget["true"] = {"value": 5.5, "oracle": 7.0, "share_of_gain": 0.5}
        for point in curve:
            point["true"] = {"budget": point["budget"], "value": 5.0, "oracle": 7.0}
    return {
        "name": "tsm-sl",
        "data": "coupon",
        "budgets": [budget],
        "arms": {
            "none": {"rows": 1200, "revenue": 2.0, "cost": 0.0},
            "10%": {"rows": 800, "revenue": 6.0, "cost": 1.0},
        },
        "curve": curve,
        "mix": [{"budget": b, "shares": [1 - b, b]} for b in (0.0, 0.5, 1.0)],
    }


def full_metrics(name: str = "age", **health: Any) -> dict[str, Any]:
    """Return metrics with everything that a finished run measures."""
    found = metrics()
    for point in found["curve"]:
        point |= {"multiplier": 8 - 6 * point["budget"]}
        point |= {"against_mix": {"value": 0.5, "low": -0.5, "high": 1.5}}
    pair = estimate(0.75) | {"low": 0.25, "high": 1.25, "p_value": 0.003}
    unclear = estimate(-0.25) | {"p_value": 0.6}
    less, more = {"budget": 0.225, **unclear}, {"budget": 0.275, **pair}
    group = {"predicted": 2.0, "rows": 400, "observed": {"value": 2.1, "low": 1.9, "high": 2.3}}
    one = {**group, "slope": 1.0, "slope_error": 0.05, "groups": [group] * 5}
    sound = {
        "calibration": {"revenue": one, "cost": one},
        "matched": {"rows": 1000, "effective": 900.0},
        "sample_ratio": {"counts": [1200, 800], "planned": [0.6, 0.4], "p_value": 0.9},
        "balance": {"feature": name, "p_value": 0.5},
        "overlap": [0.2, 0.3],
        "drift": [{"feature": name, "shift": 0.05, "error": 0.03}],
    }
    part = {"group": "up to 30", "people": 0.5, "cost": 0.2, "shares": [0.8, 0.2]}
    return found | {
        "level": 0.9,
        "against_best_mix": {"share=0.3": pair},
        "nearby": {"share=0.3": {"least": 0.0, "buys": pair, "less": less, "more": more}},
        "as_today": {
            "rows": 5000,
            "cost": 0.3,
            "revenue": estimate(5.5),
            "budget": 0.3,
            "value": estimate(5.25),
            "difference": unclear,
        },
        "who": {
            "given": "share=0.3",
            "rules": [
                {"if": [f"{name} above 30"], "people": 0.25, "treatment": "10%", "share": 0.9},
                {"if": [], "people": 0.75, "treatment": "none", "share": 1.0},
            ],
            "agreement": 0.95,
            "importance": [{"column": name, "changed": 0.4}],
            "groups": {name: [part, part | {"group": "above 30", "shares": [0.3, 0.7]}]},
        },
        "health": sound | health,
    }


def history() -> dict[str, Any]:
    epochs = [{"loss": 2.0, "validation": 3.0, "residual": None}, {"loss": 1.0, "validation": 2.5}]
    return {
        "tuning-teacher": epochs,
        "teacher": epochs,
        "target": [{"loss": None}] * 2,
        "weight_decay": [{"value": 0.1}],
    }


def comparison(*, truth: bool = True) -> dict[str, Any]:
    def policy(value: float, **more: Any) -> dict[str, Any]:
        known = {"true_value": {"value": value}, "share_of_gain": {"value": 0.25}}
        return {"eom": estimate(value), **(known if truth else {}), **more}

    better = {"eom_difference": estimate(1.0)}
    if truth:
        better["share_of_gain_difference"] = {"value": 0.125}
    budget: dict[str, Any] = {
        "given": "share=0.3",
        "methods": {"tsm-sl": policy(4.0), "bi-dfcl": policy(5.0, **better)},
        "references": {"best constant mix": policy(3.0)},
    }
    if truth:
        budget["references"]["oracle"] = {"true_value": {"value": 7.0}}
    return {"data": "coupon", "baseline": "tsm-sl", "note": "A note.", "budgets": [budget]}


SEGMENTS: dict[str, Any] = {
    "name": "policy-tree",
    "data": "shop",
    "treatments": ["none", "5% off everything"],
    "reach": 1.96,
    "level": 0.95,
    "segments": [
        {
            "people": 0.5,
            "traits": ["low age: 20 on average (all: 30)"] * 3,
            "revenue": [1.0, 2.0],
            "revenue_error": [0.1, 0.2],
            "cost": [0.0, 0.5],
        }
    ]
    * 2,
    "plan": {
        "formulation": "expected-value",
        "budgets": [0.1 * k for k in range(10)],
        "choice": [[0, 1]] * 10,
        "revenue": [1.0] * 10,
        "cost": [0.1 * k for k in range(10)],
        "violation": [0.1] * 10,
        "held_out": [{"value": 1.0, "error": 0.1, "cost": 0.1}] * 10,
    },
    "student": None,
    "tree": {
        "budget": 0.5,
        "value": 1.0,
        "error": 0.1,
        "cost": 0.2,
        "lines": ["age up to 30:", "  5% off (20% of people)"],
    },
}
