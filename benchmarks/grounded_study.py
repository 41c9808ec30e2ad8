"""Studies `grounded` over worlds of the coupon simulator: share of the oracle's gain.

``python -m benchmarks.grounded_study --seeds 20`` measures every method in every world and writes
results after each, so that a stopped study goes on where it was; more seeds are added to those
measured. ``--table`` prints the table of what has been measured, ``--timing`` measures processor
seconds. Development used seeds from 300 on; report others (``--first``).
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

from dfl.budget import Budget
from dfl.data import CouponSimulator
from dfl.io import write_json
from dfl.methods import AbstractMethod, Grounded, KdLabel, Training, TrainingSet, TsmSl
from dfl.metrics import TrueScale

RESULTS = Path(__file__).parent / "results"
TIMING = RESULTS / "grounded_timing.json"
BUDGETS = (Budget(share=0.3),)
GROUNDED, BOTH = "Grounded (TSM-SL)", "TSM-SL on both"

WORLDS: dict[str, dict[str, Any]] = {
    "no hidden confounding": {},
    "hidden confounding .5": {"hidden_confounding": 0.5},
    "hidden confounding 1": {"hidden_confounding": 1.0},
    "additive": {"hidden_confounding": 1.0, "hidden_kind": "additive"},
    "dose-free": {"hidden_confounding": 1.0, "hidden_kind": "dose-free"},
    "in a region": {"hidden_confounding": 1.0, "hidden_region": 0.3},
    "no overlap": {"overlap": False},
}
METHODS: dict[str, Callable[[Training], AbstractMethod]] = {
    BOTH: lambda training: TsmSl(training=training),
    "TSM-SL on RCT": lambda training: TsmSl(rows="rct", training=training),
    "KD-Label, gate .3": lambda training: KdLabel(gate=0.3, training=training),
    "KD-Label, gate 1": lambda training: KdLabel(gate=1.0, training=training),
    GROUNDED: lambda training: Grounded(base=TsmSl(training=training)),
    "Grounded (KD-Label, gate .3)": lambda training: Grounded(base=KdLabel(training=training)),
}


def study(path: Path, seeds: range, training: Training) -> None:
    """Measure what is not in the file yet, seed by seed, so that all worlds grow together."""
    asked = json.loads(json.dumps({"first": seeds.start, "training": vars(training)}))
    results = json.loads(path.read_text()) if path.exists() else {"asked": asked, "worlds": {}}
    if results["asked"] != asked:
        raise SystemExit(f"{path} holds a study with other settings; move it away first.")
    for seed in seeds:
        for world, options in WORLDS.items():
            found = results["worlds"].setdefault(world, {})
            missing = [name for name in METHODS if str(seed) not in found.get(name, {})]
            if not missing:
                continue
            draw = CouponSimulator(**options).hybrid(seed)
            assert draw.test.truth is not None  # a simulator's
            scale = TrueScale.of(draw.test.truth, BUDGETS)
            one = TrainingSet(rct=draw.rct, obs=draw.obs, validation=draw.validation, seed=seed)
            for name in missing:
                model = METHODS[name](training).fit_many([one])[0]
                predicted = model.predict(draw.test.features)
                share = scale.measure(predicted.revenue, predicted.cost)[0].share_of_gain
                found.setdefault(name, {})[str(seed)] = share
                if name == GROUNDED:
                    fits = model.history["correction"]
                    mean = sum(one["disagreement"] for one in fits) / len(fits)
                    found.setdefault("disagreement", {})[str(seed)] = mean
                print(f"{world}, seed {seed}: {name} {share:.3f}", flush=True)
            write_json(path, results)


def timing(path: Path) -> None:
    """Measure the processor seconds that each method trains on one seed, settings as they come."""
    draw = CouponSimulator().hybrid(300)
    one = TrainingSet(rct=draw.rct, obs=draw.obs, validation=draw.validation)
    seconds = {}
    for name in (BOTH, BOTH, GROUNDED):  # the first warms up
        start = time.process_time()
        METHODS[name](Training()).fit_many([one])
        seconds[name] = time.process_time() - start
    write_json(path, seconds)
    print(f"{seconds[GROUNDED] / seconds[BOTH]:.2f} times {BOTH}")


def table(results: Mapping[str, Any]) -> str:
    """Return the shares as Markdown, and `grounded` against each world's best other method."""
    others = [name for name in METHODS if not name.startswith("Grounded")]
    lines = [
        f"| world | seeds | {' | '.join(METHODS)} | {GROUNDED} against the best baseline "
        "| twice the log evidence of biased logs |",
        "|---" * (len(METHODS) + 4) + "|",
    ]
    for world, found in results["worlds"].items():
        seeds = sorted(set.intersection(*(set(found.get(name, {})) for name in METHODS)), key=int)
        if len(seeds) < 2:
            continue
        shares = {n: torch.tensor([found[n][seed] for seed in seeds]) for n in METHODS}
        best = max(others, key=lambda name: float(shares[name].mean()))
        evidence = [found["disagreement"][seed] for seed in seeds]
        cells = [f"{float(one.mean()):.3f}" for one in shares.values()]
        difference = _with_interval(shares[GROUNDED] - shares[best])
        lines.append(
            f"| {world} | {len(seeds)} | {' | '.join(cells)} | {difference} ({best}) "
            f"| {min(evidence):.0f} to {max(evidence):.0f} |"
        )
    return "\n".join(lines)


def _with_interval(values: torch.Tensor) -> str:
    count = values.shape[0]
    half = float(values.std()) / math.sqrt(count) * float(stats.t.ppf(0.975, count - 1))
    return f"{float(values.mean()):+.3f} ± {half:.3f}"


def main() -> None:
    """Run the study, or print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=300, help="the first seed")
    parser.add_argument("--timing", action="store_true", help="measure training times alone")
    parser.add_argument("--table", action="store_true", help="print the table, measure nothing")
    options = parser.parse_args()
    path = RESULTS / f"grounded_study_from_{options.first}.json"
    if options.table:
        print(table(json.loads(path.read_text())))
        return
    if options.timing:
        timing(TIMING)
        return
    training = Training(weight_decay=(1.0,))
    study(path, range(options.first, options.first + options.seeds), training)


if __name__ == "__main__":
    main()
