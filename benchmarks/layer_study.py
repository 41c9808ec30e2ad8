"""Compares layers, decision losses and estimators inside `dfcl` and `bi-dfcl` on coupons.

``python -m benchmarks.layer_study`` trains every variant on the same draws of the simulator, one
seed after the other, and writes after every fit, so that a stopped study goes on where it was.
``--table`` prints what has been measured: the true value of the allocation at the budget
``share=0.3``, its share of the oracle's gain over the best constant mix, and the processor seconds
of training, all stages; take one thread (``OMP_NUM_THREADS=1``). ``--hidden 0`` studies the world
without hidden confounding, in which a gate has little to learn.

Everything but the decision is the same: network 64-32-32, weight decay 1, one network per fit, and
no refit in `bi-dfcl`, so that its gate matters more and each fit takes seconds. Losses at given
prices get 2, 4 and 6, about what money is worth at the budgets share .6, .3 and .15 on another
draw of the simulator. The layer `linear-program` is left out, for a step of it takes a second at
this batch size; `quadratic` is the same optimum.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from scipy import stats

from dfl import losses
from dfl.budget import Budget
from dfl.data import CouponSimulator, PartSizes
from dfl.errors import NotConvergedError
from dfl.io import write_json
from dfl.layers import LAYERS, AbstractLayer
from dfl.losses import (
    AbstractDecisionLoss,
    DualPolicy,
    FenchelYoung,
    ImprovedFiniteDifference,
    MarginalUtility,
    PrimalPolicy,
    Roi,
    SpoPlus,
)
from dfl.methods import AbstractMethod, BiDfcl, Dfcl, Training, TrainingSet, TsmSl
from dfl.metrics import TrueOutcome, TrueScale

RESULTS = Path(__file__).parent / "results"
BUDGETS = (Budget(share=0.3),)
PRICES = (2.0, 4.0, 6.0)
BASELINE = "softmax"
TOO_SLOW = ("linear-program",)


def _layer(name: str) -> Callable[[], AbstractDecisionLoss]:
    def make() -> AbstractDecisionLoss:
        layer = LAYERS.load(name)()
        assert isinstance(layer, AbstractLayer)
        return PrimalPolicy(layer=layer)

    return make


LOSSES: dict[str, Callable[[], AbstractDecisionLoss]] = {
    **{name: _layer(name) for name in LAYERS.names() if name not in TOO_SLOW},
    "softmax, horvitz-thompson": lambda: PrimalPolicy(estimator="horvitz-thompson"),
    "softmax, doubly-robust": lambda: PrimalPolicy(estimator="doubly-robust"),
    "dual-policy": lambda: DualPolicy(multipliers=PRICES),
    "maximum-entropy": lambda: losses.LOSSES.make("maximum-entropy", multipliers=PRICES),
    "dual-finite-difference": lambda: losses.LOSSES.make(
        "dual-finite-difference", multipliers=PRICES
    ),
    "improved-finite-difference": lambda: ImprovedFiniteDifference(multipliers=PRICES),
    "fenchel-young": FenchelYoung,
    "spo-plus": SpoPlus,
    "roi": Roi,
    "marginal-utility": MarginalUtility,
}

METHODS: dict[str, Callable[[AbstractDecisionLoss, Training], AbstractMethod]] = {
    "dfcl": lambda loss, training: Dfcl(
        loss=loss, budgets=BUDGETS, training=training, decision_epochs=training.epochs
    ),
    "bi-dfcl": lambda loss, training: BiDfcl(
        loss=loss, budgets=BUDGETS, training=training, refit=False
    ),
}


def study(path: Path, hidden: float, seeds: int, training: Training, sizes: PartSizes) -> None:
    """Measure what is not in the file yet, seed by seed."""
    asked: dict[str, object] = {"hidden_confounding": hidden, "prices": PRICES}
    asked = json.loads(json.dumps(asked | {"training": vars(training), "sizes": vars(sizes)}))
    results = json.loads(path.read_text()) if path.exists() else {"asked": asked, "runs": {}}
    if results["asked"] != asked:
        raise SystemExit(f"{path} holds a study with other settings; move it away first.")
    simulator = CouponSimulator(sizes=sizes, hidden_confounding=hidden)
    variants = {"tsm-sl / both": lambda: TsmSl(training=training)} | {
        f"{method} / {name}": lambda make=make, loss=loss: make(loss(), training)
        for method, make in METHODS.items()
        for name, loss in LOSSES.items()
    }
    layers = [name for name in variants if name.partition("bi-dfcl / ")[2] in LAYERS.names()]
    first = ["tsm-sl / both", *layers]  # the rest may be stopped before it ends
    for names in (first, [name for name in variants if name not in first]):
        for seed in range(seeds):
            missing = [name for name in names if str(seed) not in results["runs"].get(name, {})]
            if not missing:
                continue
            draw = simulator.hybrid(seed)
            assert draw.test.truth is not None
            scale = TrueScale.of(draw.test.truth, BUDGETS)
            rows = TrainingSet(rct=draw.rct, obs=draw.obs, validation=draw.validation, seed=seed)
            for name in missing:
                found = _measure(variants[name](), rows, scale, draw.test.features)
                results["runs"].setdefault(name, {})[str(seed)] = found
                write_json(path, results)
            print(f"hidden confounding {hidden:g}: seed {seed}, {len(missing)} fits", flush=True)


def _measure(
    method: AbstractMethod, rows: TrainingSet, scale: TrueScale, features: torch.Tensor
) -> dict[str, Any]:
    start = time.process_time()
    try:
        model = method.fit_many([rows])[0]
    except NotConvergedError as error:
        return {"failed": str(error)}
    seconds = time.process_time() - start
    predicted = model.predict(features)
    return _entry(scale.measure(predicted.revenue, predicted.cost)[0], seconds)


def _entry(found: TrueOutcome, seconds: float) -> dict[str, float]:
    return {
        "value": found.value,
        "share_of_gain": found.share_of_gain,
        "oracle": found.oracle,
        "constant_mix": found.constant_mix,
        "seconds": seconds,
    }


def table(results: Mapping[str, Any]) -> str:
    """Return the results as Markdown, with paired 95 % intervals over the seeds all have."""
    asked, runs = results["asked"], results["runs"]
    seeds = sorted(set.union(*(set(run) for run in runs.values())), key=int)

    def column(name: str, key: str) -> torch.Tensor:  # NaN where a run failed or is missing
        found = [runs[name].get(seed, {}).get(key, math.nan) for seed in seeds]
        return torch.tensor(found, dtype=torch.float64)

    lines = [
        f"\nHidden confounding {asked['hidden_confounding']:g}, {len(seeds)} seeds, "
        f"{asked['sizes']['rct']:,} RCT and {asked['sizes']['obs']:,} OBS rows, "
        f"{asked['training']['members']} network(s), {asked['training']['epochs']} epochs; value "
        f"per head: oracle {_mean(runs, 'oracle'):.3f}, best constant mix "
        f"{_mean(runs, 'constant_mix'):.3f}:\n",
        f"| method | layer or loss | value per head | share of gain | against {BASELINE} | CPU s "
        "| seeds | diverged |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in runs:
        method, _, part = name.partition(" / ")
        share = column(name, "share_of_gain")
        base = f"{method} / {BASELINE}"
        paired = "—"
        if base in runs and base != name:
            paired = _with_interval(share - column(base, "share_of_gain"), sign="+")
        lines.append(
            f"| {method} | {part} | {_with_interval(column(name, 'value'))} | "
            f"{_with_interval(share)} | {paired} | "
            f"{float(column(name, 'seconds').nanmean()):.1f} | "
            f"{len(runs[name])} | {sum('failed' in run for run in runs[name].values())} |"
        )
    if TOO_SLOW:
        lines.append(
            f"\nLeft out, for one step takes a second at this batch size: {', '.join(TOO_SLOW)}."
        )
    return "\n".join(lines)


def _mean(runs: Mapping[str, Any], key: str) -> float:
    first = next(iter(runs.values()))
    return sum(float(first[seed][key]) for seed in first) / len(first)


def _with_interval(values: torch.Tensor, sign: str = "") -> str:
    values = values[values.isfinite()]
    count = values.shape[0]
    if count < 2:
        return f"{float(values.mean()):{sign}.3f}"
    half = float(values.std()) / math.sqrt(count) * float(stats.t.ppf(0.975, count - 1))
    return f"{float(values.mean()):{sign}.3f} ± {half:.3f}"


def main() -> None:
    """Run the study, or print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=float, default=1.0, help="hidden confounding, 0 to 1")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rct", type=int, default=8_000)
    parser.add_argument("--obs", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--table", action="store_true", help="print the tables, measure nothing")
    options = parser.parse_args()
    if options.table:
        for path in sorted(options.results.glob("layers_hidden_*.json")):
            print(table(json.loads(path.read_text())))
        return
    training = Training(
        epochs=options.epochs, min_steps=20 * options.epochs, weight_decay=(1.0,), members=1
    )
    sizes = PartSizes(rct=options.rct, obs=options.obs)
    path = options.results / f"layers_hidden_{options.hidden:g}.json"
    study(path, options.hidden, options.seeds, training, sizes)


if __name__ == "__main__":
    main()
