from typing import Any

import numpy as np
import pytest
from scipy import stats

from dfl.config import Comparison
from dfl.pipeline.differences import summary
from dfl.stats import across
from tests.pipeline.tiny import tiny_study


def entry(value: float, true: float | None, share: float | None = None) -> dict[str, object]:
    budget: dict[str, object] = {
        "given": "share=0.3",
        "eom": {"value": value},
        "constant_mix": {"value": 1.0},
        "random": {"value": 0.5},
    }
    if true is not None:
        budget["true"] = {
            "value": true,
            "oracle": 3.0,
            "constant_mix": 1.0,
            "random": 0.0,
            "share_of_gain": share,
        }
    return {"budgets": [budget]}


def only_budget(found: dict[str, Any]) -> Any:
    (budget,) = found["budgets"]
    return budget


def comparison(seeds: int) -> Comparison:
    studies = tuple(tiny_study(name, budgets=[{"share": 0.3}]) for name in ("tsm-sl", "dfcl"))
    return Comparison(studies=studies, seeds=seeds, baseline="tsm-sl")


def test_differences_over_seeds_are_paired() -> None:
    base = [1.0, 5.0, 9.0]
    other = [1.5, 5.7, 9.6]  # the seeds differ far more than the methods do
    metrics = {
        "tsm-sl": [entry(one, one / 5, (one / 5 - 1) / 2) for one in base],
        "dfcl": [entry(one, one / 5, (one / 5 - 1) / 2) for one in other],
    }
    budget = only_budget(summary(comparison(3), metrics, {}))
    found = budget["methods"]["dfcl"]
    pairs = np.subtract(other, base)
    interval = stats.t.interval(0.95, 2, loc=pairs.mean(), scale=stats.sem(pairs))
    difference = found["eom_difference"]
    assert (difference["low"], difference["high"]) == pytest.approx(interval)
    assert difference["low"] > 0
    assert found["share_of_gain_difference"]["value"] == pytest.approx(pairs.mean() / 10)
    assert "eom_difference" not in budget["methods"]["tsm-sl"]


def test_references_stand_on_the_same_scale() -> None:
    metrics = {name: [entry(2.0, 2.0, 0.5)] * 2 for name in ("tsm-sl", "dfcl")}
    budget = only_budget(summary(comparison(2), metrics, {}))
    shares = {name: one["share_of_gain"]["value"] for name, one in budget["references"].items()}
    assert shares == {"best constant mix": 0.0, "random": -0.5, "oracle": 1.0}
    assert "eom" not in budget["references"]["oracle"]


def test_without_truth_there_is_no_oracle() -> None:
    metrics = {name: [entry(2.0, None)] * 2 for name in ("tsm-sl", "dfcl")}
    budget = only_budget(summary(comparison(2), metrics, {}))
    assert set(budget["references"]) == {"best constant mix", "random"}
    assert set(budget["methods"]["dfcl"]) == {"eom", "eom_difference"}


def test_a_gain_that_is_undefined_in_one_seed_is_left_out() -> None:
    metrics = {name: [entry(2.0, 2.0, 0.5), entry(2.0, 2.0, None)] for name in ("tsm-sl", "dfcl")}
    budget = only_budget(summary(comparison(2), metrics, {}))
    assert "share_of_gain" not in budget["methods"]["dfcl"]
    assert "true_value" in budget["methods"]["dfcl"]


def test_every_method_stands_against_the_best_mix() -> None:
    gains = {"tsm-sl": [0.5, 1.0, 1.5], "dfcl": [-1.0, -2.0, -1.5]}
    metrics = {
        name: [entry(2.0, None) | {"against_best_mix": {"share=0.3": {"value": v}}} for v in values]
        for name, values in gains.items()
    }
    budget = only_budget(summary(comparison(3), metrics, {}))
    for name, values in gains.items():
        assert budget["methods"][name]["against_best_mix"] == across(values, 0.95)
    one = {name: [{"value": values[0], "low": -9.0}] for name, values in gains.items()}
    metrics = {
        name: [entry(2.0, None) | {"against_best_mix": {"share=0.3": found[0]}}]
        for name, found in one.items()
    }
    budget = only_budget(summary(comparison(1), metrics, {}))
    assert budget["methods"]["dfcl"]["against_best_mix"] == {"value": -1.0, "low": -9.0}
