"""Suites that train in a moment."""

from collections.abc import Sequence
from typing import Any

from dfl.config import Suite, read_suite
from dfl.pipeline.suite_results import Row

__all__ = ["numbers", "suite_config", "tiny_suite"]

_TIMES = {"cpu_seconds", "wall_seconds"}


def suite_config(**changes: Any) -> dict[str, Any]:
    """Return a suite of two methods on two simulators, three seeds, two of which train together."""
    few = {"rct": 120, "obs": 150, "validation": 100, "test": 160}
    more = {"rct": 400, "obs": 450, "validation": 300, "test": 900}
    return {
        "name": "tiny",
        "seeds": 3,
        "seeds_at_once": 2,
        "network": {"hidden": [4]},
        "training": {
            "epochs": 1,
            "min_steps": 2,
            "batch_size": 64,
            "members": 1,
            "weight_decay": [0.1],
        },
        "budgets": [{"share": 0.3}, {"share": 0.6}],
        "evaluation": {"draws": 3},
        "data": {
            "coupon": {"data": {"name": "coupon", "sizes": few}},
            "ads": {"data": {"name": "criteo-like", "noise": 0.1, "sizes": more}},
        },
        "methods": {"tsm-sl": {}, "kd": {"method": {"name": "kd-label", "gate": 0.5}}},
        **changes,
    }


def tiny_suite(**changes: Any) -> Suite:
    return read_suite(suite_config(**changes))


def numbers(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows without what takes time, and without what they do not know."""
    return [{k: v for k, v in row.items() if k not in _TIMES and v is not None} for row in rows]
