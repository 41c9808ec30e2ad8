"""Studies the methods on the coupon simulator: share of the oracle's gain, paired over seeds.

``python -m benchmarks.coupon_study`` trains every method on the same draws of the simulator,
without and with hidden confounding, and writes one JSON file after each method, so that a
stopped study goes on where it was. ``--table`` prints the table of what has been measured.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from scipy import stats

from dfl.budget import Budget
from dfl.data import CouponSimulator, PartSizes
from dfl.io import write_json
from dfl.methods import (
    AbstractMethod,
    BiDfcl,
    Dfcl,
    FittedModel,
    KdLabel,
    Training,
    TrainingSet,
    TsmSl,
)
from dfl.metrics import TrueScale

RESULTS = Path(__file__).parent / "results" / "coupon_study.json"
BUDGETS = (Budget(share=0.3),)
BASELINE = "TSM-SL on both"
SETTINGS = {"no hidden confounding": 0.0, "hidden confounding": 1.0}

METHODS: dict[str, Callable[[Training], AbstractMethod]] = {
    "TSM-SL on RCT": lambda training: TsmSl(rows="rct", training=training),
    "TSM-SL on OBS": lambda training: TsmSl(rows="obs", training=training),
    BASELINE: lambda training: TsmSl(training=training),
    "KD-Label, gate .1": lambda training: KdLabel(gate=0.1, training=training),
    "KD-Label, gate .3": lambda training: KdLabel(gate=0.3, training=training),
    "KD-Label, gate 1": lambda training: KdLabel(gate=1.0, training=training),
    "DFCL-PPL": lambda training: Dfcl(budgets=BUDGETS, training=training),
    "Bi-DFCL (PPL)": lambda training: BiDfcl(budgets=BUDGETS, training=training),
}


def study(path: Path, seeds: int, training: Training, sizes: PartSizes) -> None:
    """Measure what is not in the file yet."""
    results = json.loads(path.read_text()) if path.exists() else {}
    asked = {"seeds": seeds, "training": vars(training), "sizes": vars(sizes)}
    asked = json.loads(json.dumps(asked))
    if results.setdefault("asked", asked) != asked:
        raise SystemExit(f"{path} holds a study with other settings; give another --output.")
    for setting, hidden in SETTINGS.items():
        simulator = CouponSimulator(sizes=sizes, hidden_confounding=hidden)
        draws = [simulator.hybrid(seed) for seed in range(seeds)]
        sets = [
            TrainingSet(rct=draw.rct, obs=draw.obs, validation=draw.validation, seed=seed)
            for seed, draw in enumerate(draws)
        ]
        for name, make in METHODS.items():
            done = results.setdefault(setting, {})
            if name in done:
                continue
            start = time.perf_counter()
            models = make(training).fit_many(sets)
            seconds = time.perf_counter() - start
            measured = [
                measure(model, draw.test.features, TrueScale.of(draw.test.truth, BUDGETS))
                for model, draw in zip(models, draws, strict=True)
            ]
            done[name] = {
                "seconds": seconds,
                "one network": [one for one, _ in measured],
                "ensemble": [all_members for _, all_members in measured],
                "weight_decay": [entry["value"] for entry in models[0].history["weight_decay"]],
                "last_epoch": {stage: logs[-1] for stage, logs in models[0].history.items()},
            }
            write_json(path, results)
            print(f"{setting}: {name}, {seconds:.0f} s", flush=True)


def measure(model: FittedModel, features: torch.Tensor, scale: TrueScale) -> tuple[float, float]:
    """Return the share of the oracle's gain of the first member and of all members."""
    shares = []
    for one in (model.only(0), model):
        predicted = one.predict(features)
        shares.append(scale.measure(predicted.revenue, predicted.cost)[0].share_of_gain)
    return shares[0], shares[1]


def table(results: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]) -> str:
    """Return the measured shares as Markdown, with paired 95 % intervals."""
    lines = []
    for setting in SETTINGS:
        rows = results[setting]
        members = results["asked"]["training"]["members"]
        lines += [
            f"\n**{setting}**\n",
            f"| method | one network | against {BASELINE} | {members} members | against "
            f"{BASELINE} | time |",
            "|---|---|---|---|---|---|",
        ]
        for name, row in rows.items():
            cells = []
            for kind in ("one network", "ensemble"):
                base = torch.tensor(rows[BASELINE][kind])
                values = torch.tensor(row[kind])
                cells += [_with_interval(values), _with_interval(values - base, sign="+")]
            ratio = row["seconds"] / rows[BASELINE]["seconds"]
            lines.append(f"| {name} | {' | '.join(cells)} | {ratio:.1f} |")
    return "\n".join(lines)


def _with_interval(values: torch.Tensor, sign: str = "") -> str:
    count = values.shape[0]
    half = float(values.std()) / math.sqrt(count) * float(stats.t.ppf(0.975, count - 1))
    return f"{float(values.mean()):{sign}.3f} ± {half:.3f}"


def main() -> None:
    """Run the study, or print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rct", type=int, default=PartSizes().rct)
    parser.add_argument("--obs", type=int, default=PartSizes().obs)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--table", action="store_true", help="print the table, measure nothing")
    options = parser.parse_args()
    if not options.table:
        training = Training(epochs=options.epochs, min_steps=50 * options.epochs)
        sizes = PartSizes(rct=options.rct, obs=options.obs)
        study(options.output, options.seeds, training, sizes)
    print(table(json.loads(options.output.read_text())))


if __name__ == "__main__":
    main()
