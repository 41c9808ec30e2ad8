"""`row_of`: everything that a suite keeps of one training."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, final

from dfl.config import Study
from dfl.data import HybridData
from dfl.errors import InvalidValueError, UnsupportedProblemError
from dfl.metrics import Estimate, aucc, qini, roi_score, true_aucc
from dfl.models import Prediction
from dfl.pipeline.yardstick import Yardstick
from dfl.training.settings import Training

__all__ = ["Spent", "measured", "row_of"]

_VERSIONS = ("dfl", "python", "machine", "torch", "numpy")


@final
@dataclass(frozen=True)
class Spent:
    """What a training took, per seed.

    Args:
        cpu: processor seconds of the fit.
        wall: seconds of the fit.
        seeds: how many seeds trained together.
    """

    cpu: float
    wall: float
    seeds: int


def row_of(
    suite: str,
    study: Study,
    data: HybridData | None,
    cell: tuple[str, str, int],
    spent: Spent | None,
    versions: Mapping[str, object],
) -> dict[str, Any]:
    """Return what is known of a training before anything is measured.

    Args:
        suite: its name.
        study: what was trained.
        data: its rows, or None where they could not be drawn.
        cell: labels of data set and method, and seed.
        spent: what it took, or None where nothing was trained.
        versions: of libraries and machine.
    """
    training = getattr(study.method, "training", None)
    known = training if isinstance(training, Training) else None
    return {
        "suite": suite,
        **dict(zip(("data", "method", "seed"), cell, strict=True)),
        "failed": None,
        "first_budget": str(study.budgets[0]),
        **{
            f"{part}_rows": None if data is None else data.rows[part]
            for part in ("rct", "obs", "validation", "test")
        },
        "features": None if data is None else data.test.features.shape[1],
        "treatments": None if data is None else data.test.treatments,
        "cpu_seconds": spent.cpu if spent else None,
        "wall_seconds": spent.wall if spent else None,
        "seeds_at_once": spent.seeds if spent else None,
        "epochs": known.epochs if known else None,
        "members": known.members if known else None,
        **{name: str(versions[name]) for name in _VERSIONS},
        "config": json.dumps(study.config),
    }


def measured(study: Study, yardstick: Yardstick, predicted: Prediction) -> dict[str, Any]:
    """Return every metric of a model's predictions of the test rows, by name.

    Where the budget is ``share=0.3``, ``eom@share=0.3`` is the value per head, by the estimator
    of the evaluation, and ``eom_se@share=0.3`` its standard error; likewise ``over_mix`` (minus
    the best constant mix), ``cost``, ``mixed`` (share of people moved to the cheapest treatment)
    and, of the truth, ``true_value``, ``true_cost``, ``oracle``, ``true_mix``, ``true_random``,
    ``share_of_gain`` and ``regret``. With two treatments there are ``aucc``, ``qini`` and
    ``qini_normalised`` by the same estimator, ``aucc_raw``, the published form, ``true_aucc`` and
    ``oracle_aucc``, of the truth. What is undefined is None.
    """
    metrics: Any = yardstick.measure(predicted, study.solver).metrics
    found: dict[str, Any] = {}
    for one in metrics["budgets"]:
        found |= _at_budget(one, metrics["against_best_mix"][one["given"]])
    if yardstick.test.treatments == 2:
        found |= _estimate("aucc", metrics.get("aucc", {}))
        found |= _of_ranking(yardstick, predicted)
    return found


def _at_budget(one: Mapping[str, Any], over_mix: Mapping[str, float]) -> dict[str, float | None]:
    at = one["given"]
    found = {
        **_estimate("eom", one["eom"], f"@{at}"),
        **_estimate("over_mix", over_mix, f"@{at}"),
        f"cost@{at}": one["cost"],
        f"mixed@{at}": one["mixed_with_cheapest"],
    }
    true = one.get("true", {})
    names = {"value": "true_value", "cost": "true_cost", "oracle": "oracle"}
    names |= {"constant_mix": "true_mix", "random": "true_random"}
    names |= {"share_of_gain": "share_of_gain", "regret": "regret"}
    return found | {f"{new}@{at}": true[old] for old, new in names.items() if old in true}


def _of_ranking(yardstick: Yardstick, predicted: Prediction) -> dict[str, float | None]:
    """Return what a ranking of people by return on money, or by uplift, is worth."""
    test, bootstrap = yardstick.test, yardstick.bootstrap
    uplift = predicted.revenue[:, 1] - predicted.revenue[:, 0]
    measures: dict[str, Estimate | None] = dict.fromkeys(("aucc_raw", "qini", "qini_normalised"))
    undefined = suppress(InvalidValueError, UnsupportedProblemError)  # effects near 0, or costs
    with undefined:
        score = roi_score(predicted.revenue, predicted.cost)
        measures["aucc_raw"] = aucc(test, score, bootstrap=bootstrap)
    with undefined:
        one = qini(test, uplift, estimator=yardstick.estimator, bootstrap=bootstrap)
        measures |= {"qini": one.coefficient, "qini_normalised": one.normalised}
    found: dict[str, float | None] = {}
    for name, estimate in measures.items():
        found |= _estimate(name, {} if estimate is None else vars(estimate))
    if test.truth is not None:
        try:
            found["true_aucc"] = true_aucc(test.truth, roi_score(predicted.revenue, predicted.cost))
            best = roi_score(test.truth.revenue, test.truth.cost)
            found["oracle_aucc"] = true_aucc(test.truth, best)
        except InvalidValueError:
            found["true_aucc"] = found["oracle_aucc"] = None
    return found


def _estimate(name: str, estimate: Mapping[str, Any], where: str = "") -> dict[str, float | None]:
    return {
        f"{name}{where}": estimate.get("value"),
        f"{name}_se{where}": estimate.get("standard_error"),
    }
