"""The main methods at the paper's scale: time, memory and value of each, on any device.

``python -m benchmarks.full_scale --device cuda`` trains on 700,000 randomised and 3.5 million
observational rows of `criteo-like`, with the paper's network (64-32-32), and is meant to end
within ten minutes on one GPU. ``--small`` takes a five-hundredth of the rows and seconds on any
processor, to see that all of it runs. ``--output FILE`` keeps the figures as JSON.

One draw ranks no methods: values are here to see that training did something. Memory is the most
that tensors took on the device during a fit; on the processor, the most that the process has
taken so far, so it can only grow down the table.
"""

import argparse
import json
import platform
import resource
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from dfl.budget import Budget
from dfl.data import CriteoLikeSimulator, HybridData, PartSizes, PotentialOutcomes
from dfl.io import write_json
from dfl.methods import METHODS, AbstractModel, Training, TrainingSet
from dfl.metrics import TrueScale, roi_score, true_aucc
from dfl.models import MLP

ROWS = ("tsm-sl-rct", "tsm-sl", "kd-label", "dfcl-ppl", "bi-dfcl-ppl", "bi-dfcl-pifd")
BUDGET = Budget(share=0.5)
NETWORK = MLP(hidden=(64, 32, 32))
SIZES = PartSizes(rct=700_000, obs=3_500_000, validation=140_000, test=420_000)
TRAINING = Training(epochs=5, batch_size=16_384, learning_rate=4e-3, weight_decay=(0.1,), members=1)
SMALL = PartSizes(rct=1_400, obs=7_000, validation=1_400, test=4_200)
QUICK = Training(
    epochs=1, batch_size=1024, min_steps=10, learning_rate=4e-3, weight_decay=(0.1,), members=1
)


def study(sizes: PartSizes, training: Training, device: str, names: list[str]) -> dict[str, Any]:
    """Train and measure every method on one draw, and print a row of the table after each."""
    start = time.perf_counter()
    draw, rows = rows_on(sizes, device)
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "machine": platform.machine(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "sizes": asdict(sizes),
        "training": asdict(training),
        "seconds_of_drawing": time.perf_counter() - start,
        "methods": {},
    }
    print(
        "| method | seconds | CPU s | GB | true AUCC | share of gain |\n|---|---|---|---|---|---|"
    )
    for name in names:
        found["methods"][name] = one = measure(name, rows, draw, training, device)
        print(
            f"| {name} | {one['seconds']:.1f} | {one['cpu_seconds']:.1f} | {one['gigabytes']:.2f} "
            f"| {one['true_aucc']:.3f} | {one['share_of_gain']:.3f} |",
            flush=True,
        )
    found["seconds_in_all"] = time.perf_counter() - start
    print(f"\n{found['seconds_in_all']:.0f} seconds in all, on {found['device']}")
    return found


def rows_on(sizes: PartSizes, device: str) -> tuple[HybridData, TrainingSet]:
    """Draw the data, and put what is trained on on the device."""
    draw = CriteoLikeSimulator(sizes=sizes, hidden_confounding=0.5).hybrid(0)
    assert draw.rct is not None
    assert draw.obs is not None
    parts = (one.to(device) for one in (draw.rct, draw.obs, draw.validation))
    return draw, TrainingSet(**dict(zip(("rct", "obs", "validation"), parts, strict=True)))


def measure(
    name: str, rows: TrainingSet, draw: HybridData, training: Training, device: str
) -> Mapping[str, float]:
    """Return what one method took, and what its model is worth."""
    takes = {"budgets": (BUDGET,)} if "dfcl" in name else {}
    method = METHODS.make(name, network=NETWORK, training=training, **takes)
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start, cpu = time.perf_counter(), time.process_time()
    (model,) = method.fit_many([rows])
    if on_gpu:
        torch.cuda.synchronize()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    taken = (
        torch.cuda.max_memory_allocated()
        if on_gpu
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
    )
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "gigabytes": taken / 1e9,
        **_worth(model, draw),
    }


def _worth(model: AbstractModel, draw: HybridData) -> dict[str, float]:
    truth = draw.test.truth
    assert isinstance(truth, PotentialOutcomes)  # a simulator knows
    predicted = model.predict(draw.test.features)
    revenue, cost = predicted.revenue.cpu(), predicted.cost.cpu()
    (outcome,) = TrueScale.of(truth, (BUDGET,)).measure(revenue, cost)
    return {
        "true_aucc": true_aucc(truth, roi_score(revenue, cost)),
        "share_of_gain": outcome.share_of_gain,
    }


def main() -> None:
    """Run the profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--small", action="store_true", help="few rows: does all of it run?")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=[*ROWS])
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--output", type=Path, help="JSON file of the figures")
    options = parser.parse_args()
    sizes, training = (SMALL, QUICK) if options.small else (SIZES, TRAINING)
    if options.epochs is not None:
        training = Training(**(asdict(training) | {"epochs": options.epochs}))
    found = study(sizes, training, options.device, options.only)
    if options.output is not None:
        write_json(options.output, json.loads(json.dumps(found)))


if __name__ == "__main__":
    main()
