"""Measures settings whose defaults were guessed, on development seeds of the coupon simulator.

``python -m benchmarks.defaults_study`` fits every setting on seeds 100 to 104, all at once, one
network each, and writes after each setting, so that a stopped study goes on where it was;
``--table`` prints what has been measured: the share of the oracle's gain over the best constant mix
at the budget ``share=0.3``, mean and standard error over seeds, and the paired difference from the
first setting of its group. Seeds of a report are others.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dfl.budget import Budget
from dfl.data import CouponSimulator, PartSizes
from dfl.io import write_json
from dfl.losses import (
    AdjacentHinge,
    CostSensitive,
    DualPolicy,
    LagrangianDecomposition,
    MarginalUtility,
    PrimalPolicy,
    Roi,
    SpoPlus,
)
from dfl.methods import (
    METHODS,
    AbstractMethod,
    CausE,
    Cfr,
    Dfcl,
    Dhcl,
    KdFeature,
    Training,
    TrainingSet,
)
from dfl.metrics import TrueScale
from dfl.models import ArmHeads

RESULTS = Path(__file__).parent / "results" / "defaults_study.json"
BUDGETS = (Budget(share=0.3),)
SEEDS = range(100, 105)
SIZES = PartSizes(rct=8_000, obs=12_000, validation=5_000, test=20_000)
TRAINING = Training(members=1, weight_decay=(0.5,))
CONFOUNDED = {"hidden_confounding": 1.0}
PRICES = (2.0, 4.0, 6.0)  # about what money is worth on coupons

Make = Callable[[], AbstractMethod]
_LOSSES = {
    "primal-policy": PrimalPolicy(),
    "spo-plus": SpoPlus(),
    "adjacent-hinge": AdjacentHinge(),
    "cost-sensitive": CostSensitive(),
    "cost-sensitive, asymmetry 0": CostSensitive(asymmetry=0.0),
    "cost-sensitive, asymmetry .5": CostSensitive(asymmetry=0.5),
    "dual-policy, prices 2, 4, 6": DualPolicy(multipliers=PRICES),
    "lagrangian-decomposition": LagrangianDecomposition(),
    "lagrangian-decomposition, prices 2, 4, 6": LagrangianDecomposition(multipliers=PRICES),
}
_RATES = (4e-3, 1e-3, 1.6e-2)


def _dhcl(loss: Roi | MarginalUtility, rate: float) -> Make:
    return lambda: Dhcl(loss=loss, training=replace(TRAINING, learning_rate=rate))


# Group -> worlds (options of the simulator) and settings; the others are paired with the first.
GROUPS: dict[str, tuple[tuple[dict[str, float], ...], dict[str, Make]]] = {
    "decision losses in dfcl": (
        ({},),
        {
            "two-stage": lambda: METHODS.make("tsm-sl-rct", training=TRAINING),
            **{
                name: lambda loss=loss: Dfcl(loss=loss, budgets=BUDGETS, training=TRAINING)  # type: ignore[misc]
                for name, loss in _LOSSES.items()
            },
        },
    ),
    "dhcl-dpm, learning rate": (
        ({}, {"noise": 0.3}),
        {f"{rate:g}": _dhcl(MarginalUtility(), rate) for rate in _RATES},
    ),
    "dhcl-drp, learning rate": (
        ({}, {"noise": 0.3}),
        {f"{rate:g}": _dhcl(Roi(), rate) for rate in _RATES},
    ),
    "cause, beta": (
        ({}, CONFOUNDED),
        {
            f"{beta:g}": lambda beta=beta: CausE(beta=beta, training=TRAINING)  # type: ignore[misc]
            for beta in (0.01, 0.0, 0.1)
        },
    ),
    "cfr-mmd, alpha": (
        ({},),
        {
            f"{alpha:g}": lambda alpha=alpha: Cfr(  # type: ignore[misc]
                distance="mmd", alpha=alpha, network=ArmHeads(), training=TRAINING
            )
            for alpha in (1.0, 0.0, 0.1)
        },
    ),
    "cfr-wass, alpha": (
        ({},),
        {
            f"{alpha:g}": lambda alpha=alpha: Cfr(  # type: ignore[misc]
                distance="wasserstein", alpha=alpha, network=ArmHeads(), training=TRAINING
            )
            for alpha in (1.0, 0.0, 0.1)
        },
    ),
    "kd-feature, gamma": (
        ({}, CONFOUNDED),
        {
            f"{gamma:g}": lambda gamma=gamma: KdFeature(gamma=gamma, training=TRAINING)  # type: ignore[misc]
            for gamma in (1.0, 0.0, 0.1)
        },
    ),
}


def study(path: Path, only: str) -> None:
    """Measure what is not in the file yet."""
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for group, (worlds, settings) in GROUPS.items():
        for options in worlds:
            key = "; ".join([group, *(f"{name} {value:g}" for name, value in options.items())])
            missing = [name for name in settings if name not in results.get(key, {})]
            if not missing or only not in group:
                continue
            draws = [CouponSimulator(sizes=SIZES, **options).hybrid(s) for s in SEEDS]
            scales = [TrueScale.of(draw.test.truth, BUDGETS) for draw in draws if draw.test.truth]
            sets = [
                TrainingSet(rct=draw.rct, obs=draw.obs, validation=draw.validation, seed=seed)
                for seed, draw in zip(SEEDS, draws, strict=True)
            ]
            for name in missing:
                start = time.process_time()
                models = settings[name]().fit_many(sets)
                seconds = time.process_time() - start
                shares = []
                for model, draw, scale in zip(models, draws, scales, strict=True):
                    found = model.predict(draw.test.features)
                    shares.append(scale.measure(found.revenue, found.cost)[0].share_of_gain)
                results.setdefault(key, {})[name] = {"shares": shares, "seconds": seconds}
                write_json(path, results)
                print(
                    f"{key}: {name}: {sum(shares) / len(shares):.3f}, {seconds:.0f} s", flush=True
                )


def table(results: dict[str, Any]) -> str:
    """Return the measured shares as Markdown, one table per group and world."""
    lines = []
    for key, settings in results.items():
        lines += [f"\n{key}\n", "| setting | share | against the first | s |", "|---|---|---|---|"]
        first = torch.tensor(next(iter(settings.values()))["shares"])
        for name, found in settings.items():
            shares = torch.tensor(found["shares"])
            error = [float(one.std() / math.sqrt(len(one))) for one in (shares, shares - first)]
            lines.append(
                f"| {name} | {shares.mean():.3f} ± {error[0]:.3f} | {(shares - first).mean():+.3f} "
                f"± {error[1]:.3f} | {found['seconds']:.0f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Run as the first paragraph says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="groups whose name holds this")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    if not given.table:
        study(given.results, given.only)
    print(table(json.loads(given.results.read_text())))


if __name__ == "__main__":
    main()
