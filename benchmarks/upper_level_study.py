"""Compares upper levels of bilevel training over the same outer parameters: outcomes or decisions.

The outer network is the bias of the logs' revenue, linear in the features and in the place of the
treatment, as `grounded` has it, instead of a gate between a teacher and the logs: the target learns
what the logs say less that bias, beside randomised rows that it may see, and the bias is learned
from the others, through the target as in Bi-DFCL, either by the factual error there (``evidence``)
or by the value of the decisions.

``python -m benchmarks.upper_level_study`` fits every upper level on development seeds of the coupon
simulator, all seeds at once, one network each, and writes after each; ``--table`` prints the share
of the oracle's gain at each budget, mean and standard error, and the paired difference from
``evidence``.
"""

import argparse
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.data import CouponSimulator, PartSizes
from dfl.io import write_json
from dfl.losses import PrimalPolicy
from dfl.losses.prediction import at_treatment, factual_loss
from dfl.methods import (
    AbstractMethod,
    BiDfcl,
    BilevelSettings,
    Grounded,
    Training,
    TrainingSet,
    TsmSl,
)
from dfl.methods.base import AbstractNetworkMethod
from dfl.metrics import TrueScale
from dfl.models import Parameters
from dfl.training.bilevel import Bilevel, Outer, default_hypergradient
from dfl.training.decision_level import BUDGETS, DecisionLevel
from dfl.training.fit import fit_factual
from dfl.training.levels import FactualLevel, LowerLevel, UpperLevel
from dfl.training.monitor import Monitor
from dfl.training.networks import Networks
from dfl.training.nuisance import with_teacher_baseline
from dfl.training.rows import Batch
from dfl.training.settings import hold_out

RESULTS = Path(__file__).parent / "results" / "upper_level_study.json"
JUDGED = tuple(Budget(share=share) for share in (0.1, 0.3, 0.5, 0.8))
SIZES = PartSizes(rct=8_000, obs=12_000, validation=4_000, test=20_000)
WORLDS: dict[str, dict[str, Any]] = {
    "no hidden confounding": {},
    "hidden confounding .5": {"hidden_confounding": 0.5},
    "hidden confounding 1": {"hidden_confounding": 1.0},
    "additive": {"hidden_confounding": 1.0, "hidden_kind": "additive"},
}
EVIDENCE = "bias of the logs, evidence"


@dataclass(frozen=True, eq=False, kw_only=True)
class LogsBias(AbstractNetworkMethod):
    """``min_phi upper(theta*(phi))``, ``theta*(phi)`` learned from logs less the bias ``phi``.

    Args:
        level: the upper level: factual error, or minus the value of the decisions, by the
            self-normalised or the doubly robust estimator.
        upper: how the bias is learned; it has one parameter per feature, and one more.
        network: of the targets.
        training: of the targets.
    """

    level: Literal["evidence", "decisions", "decisions, doubly robust"] = "evidence"
    upper: BilevelSettings = field(
        default_factory=lambda: BilevelSettings(hidden=(), every=5, reach=0.02)
    )

    def train(self, networks: Networks, monitor: Monitor) -> Parameters:
        """Learn the bias on half of the randomised rows, then fit the targets under it."""
        halves = [hold_out(one, 0.5) for one in networks.sets]
        seen = replace(networks, sets=[kept for kept, _ in halves])
        held = replace(networks, sets=[rows for _, rows in halves])
        pool = held.pool(lambda one: one.rows("rct"))
        level: UpperLevel = FactualLevel()
        if self.level != "evidence":
            loss = PrimalPolicy()
            if self.level == "decisions, doubly robust":
                loss = PrimalPolicy(estimator="doubly-robust")
                teachers = fit_factual("teacher", seen, "rct", self.training, monitor)
                pool = with_teacher_baseline(pool, seen, teachers)
            level = DecisionLevel(held, loss, BUDGETS, pool, "rows")
        problem = Bilevel(
            lower=_less_bias(seen),
            upper=level,
            rows=pool,
            outer=Outer(channels=1, reading=_along_the_doses, bias=0.0, flat=True),
            hypergrad=default_hypergradient(),
            settings=self.upper,
            training=self.training,
        )
        _, bias = problem.run("target", monitor)
        return _less_bias(networks).train("refit-target", bias, self.training, monitor)


def _along_the_doses(phi: Tensor) -> Tensor:
    """Return the first output ``(K, B, 1, M)``, times each treatment's standardised place."""
    place = torch.arange(phi.shape[-1], device=phi.device, dtype=phi.dtype)
    return phi[..., :1] * (place - place.mean()) / place.std(correction=0)


def _less_bias(networks: Networks) -> LowerLevel:
    """Return the factual loss, the bias ``(K, B, 1, M)`` taken off the revenue of the logs."""

    def loss(outcomes: Tensor, batch: Batch, bias: Tensor) -> Tensor:
        revenue = at_treatment(bias, batch.treatment) * batch.from_logs[..., None]
        unbiased = batch.outcome - torch.cat([revenue, torch.zeros_like(revenue)], dim=-1)
        return factual_loss(outcomes, batch.treatment, unbiased)

    return LowerLevel(networks, networks.pool(lambda one: one.rows("both")), loss)


def methods(training: Training) -> dict[str, Callable[[], AbstractMethod]]:
    """Return what is compared, by name."""
    return {
        EVIDENCE: lambda: LogsBias(training=training),
        "bias of the logs, decisions": lambda: LogsBias(level="decisions", training=training),
        "bias of the logs, decisions, doubly robust": lambda: LogsBias(
            level="decisions, doubly robust", training=training
        ),
        "no bias (TSM-SL on both)": lambda: TsmSl(training=training),
        "a gate, decisions (Bi-DFCL)": lambda: BiDfcl(training=training),
        "Grounded, two members": lambda: Grounded(
            base=TsmSl(training=replace(training, members=2))
        ),
    }


def study(path: Path, seeds: range, training: Training, sizes: PartSizes) -> dict[str, Any]:
    """Measure what is not in the file yet; return all of it."""
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for world, options in WORLDS.items():
        found = results.setdefault(world, {})
        missing = [name for name in methods(training) if name not in found]
        if not missing:
            continue
        draws = [CouponSimulator(sizes=sizes, **options).hybrid(seed) for seed in seeds]
        sets = [
            TrainingSet(rct=draw.rct, obs=draw.obs, validation=draw.validation, seed=seed)
            for seed, draw in zip(seeds, draws, strict=True)
        ]
        scales = [TrueScale.of(draw.test.truth, JUDGED) for draw in draws if draw.test.truth]
        for name in missing:
            shares = []
            models = methods(training)[name]().fit_many(sets)
            for model, draw, scale in zip(models, draws, scales, strict=True):
                predicted = model.predict(draw.test.features)
                measured = scale.measure(predicted.revenue, predicted.cost)
                shares.append([one.share_of_gain for one in measured])
            found[name] = shares
            write_json(path, results)
            print(f"{world}: {name}: {torch.tensor(shares).mean(dim=0).tolist()}", flush=True)
    return results


def table(results: Mapping[str, Any]) -> str:
    """Return the shares as Markdown, a row per world and method."""
    budgets = " | ".join(f"{budget.share:g} | against evidence" for budget in JUDGED)
    lines = [f"| world | outer parameters, upper level | {budgets} |", "|---" * 10 + "|"]
    for world, found in results.items():
        first = torch.tensor(found[EVIDENCE])
        for name, values in found.items():
            shares = torch.tensor(values)
            gain = shares - first
            error = gain.std(dim=0) / math.sqrt(len(gain))
            cells = [
                f"{share:.3f} | {difference:+.3f} ± {spread:.3f}"
                for share, difference, spread in zip(
                    shares.mean(dim=0).tolist(),
                    gain.mean(dim=0).tolist(),
                    error.tolist(),
                    strict=True,
                )
            ]
            lines.append(f"| {world} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run as the last paragraph says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--first", type=int, default=780, help="the first seed")
    parser.add_argument("--table", action="store_true", help="print the table, measure nothing")
    given = parser.parse_args()
    if given.table:
        print(table(json.loads(RESULTS.read_text())))
        return
    training = Training(epochs=6, members=1, weight_decay=(0.5,))
    print(table(study(RESULTS, range(given.first, given.first + given.seeds), training, SIZES)))


if __name__ == "__main__":
    main()
