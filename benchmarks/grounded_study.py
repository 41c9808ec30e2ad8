"""Studies `grounded` over worlds of the coupon simulator: share of the oracle's gain.

``python -m benchmarks.grounded_study --seeds 20`` measures every method in every world and writes
results after each, so that a stopped study goes on where it was; more seeds are added to those
measured, and ``--only`` leaves methods for later. ``--table`` prints the table of what has been
measured, ``--timing`` measures processor seconds. Development used seeds from 300 on; report others
(``--first``).
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from scipy import stats

from dfl.budget import Budget
from dfl.data import CouponSimulator, PartSizes
from dfl.io import write_json
from dfl.methods import AbstractMethod, Grounded, KdLabel, Training, TrainingSet, TsmSl
from dfl.metrics import TrueScale
from dfl.models.grounding.correction import CorrectionForm

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
    "heavy tails": {"hidden_confounding": 1.0, "basket_spread": 2.0},
    "3,000 randomised rows": {
        "hidden_confounding": 1.0,
        "sizes": PartSizes(rct=1_500, validation=1_500),
    },
    "unordered": {"ordered": False},
}
FIRST_FORMS = (CorrectionForm(), CorrectionForm(add=1.0), CorrectionForm(multiplicative=False))
METHODS: dict[str, Callable[[Training], AbstractMethod]] = {
    BOTH: lambda training: TsmSl(training=training),
    "TSM-SL on RCT": lambda training: TsmSl(rows="rct", training=training),
    "KD-Label, gate .3": lambda training: KdLabel(gate=0.3, training=training),
    "KD-Label, gate 1": lambda training: KdLabel(gate=1.0, training=training),
    GROUNDED: lambda training: Grounded(base=TsmSl(training=training)),
    "Grounded, first forms": lambda training: Grounded(
        base=TsmSl(training=training), corrections=FIRST_FORMS
    ),
    "Grounded (KD-Label, gate .3)": lambda training: Grounded(base=KdLabel(training=training)),
}


def study(path: Path, seeds: range, training: Training, methods: Sequence[str]) -> None:
    """Measure what is not in the file yet, seed by seed, so that all worlds grow together."""
    asked = json.loads(json.dumps({"first": seeds.start, "training": vars(training)}))
    results = json.loads(path.read_text()) if path.exists() else {"asked": asked, "worlds": {}}
    if results["asked"] != asked:
        raise SystemExit(f"{path} holds a study with other settings; move it away first.")
    for seed in seeds:
        for world, options in WORLDS.items():
            found = results["worlds"].setdefault(world, {})
            missing = [name for name in methods if str(seed) not in found.get(name, {})]
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
    """Return the shares as Markdown, and `grounded` against each world's best other method.

    A cell is the mean over the method's seeds, with their number; the best baseline is one that
    has all seeds of `grounded`.
    """
    lines = [
        f"| world | {' | '.join(METHODS)} | {GROUNDED} against the best baseline "
        "| twice the log evidence of biased logs |",
        "|---" * (len(METHODS) + 3) + "|",
    ]
    for world, found in results["worlds"].items():
        shares = {name: found[name] for name in METHODS if name in found}
        means = {name: sum(one.values()) / len(one) for name, one in shares.items()}
        cells = [
            f"{means[name]:.3f} ({len(shares[name])})" if name in means else "not measured"
            for name in METHODS
        ]
        seeds = shares.get(GROUNDED, {}).keys()
        rivals = [n for n in means if not n.startswith("Grounded") and seeds <= shares[n].keys()]
        best = max(rivals, key=means.__getitem__)
        paired = [shares[GROUNDED][seed] - shares[best][seed] for seed in seeds]
        evidence = list(found.get("disagreement", {"": math.nan}).values())
        lines.append(
            f"| {world} | {' | '.join(cells)} | {_with_interval(torch.tensor(paired))} ({best}) "
            f"| {min(evidence):.0f} to {max(evidence):.0f} |"
        )
    return "\n".join(lines)


def _with_interval(values: torch.Tensor) -> str:
    count = values.shape[0]
    if count < 2:
        return f"{float(values.mean()):+.3f}, one seed"
    half = float(values.std()) / math.sqrt(count) * float(stats.t.ppf(0.975, count - 1))
    return f"{float(values.mean()):+.3f} ± {half:.3f}"


def main() -> None:
    """Run the study, or print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=300, help="the first seed")
    parser.add_argument("--only", nargs="+", choices=[*METHODS], default=[*METHODS])
    parser.add_argument("--weight-decay", type=float, default=1.0)
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
    training = Training(weight_decay=(options.weight_decay,))
    study(path, range(options.first, options.first + options.seeds), training, options.only)


if __name__ == "__main__":
    main()
