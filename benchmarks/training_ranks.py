"""What a second process saves in training: ``python benchmarks/training_ranks.py METHOD...``.

Trains each method in one process, in two that have all rows, and in two that have a half of them
each, on the coupon simulator, one thread each. CPU seconds are those of training in the busiest
process, messages with it; where cores are shared with others, they can be compared and seconds of
the clock cannot. Memory is that of the rows and, at its peak, what training adds to rows and
interpreter, of the process that holds most.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from dfl.data import CouponSimulator, PartSizes
from dfl.methods import METHODS, Training, TrainingSet
from dfl.models import MLP
from dfl.scale import gathered, joined, leads, together


def main() -> None:
    """Read the options; start the processes, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="+")
    parser.add_argument("--rows", type=int, default=200_000, help="logged rows; half randomised")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 32, 32])
    parser.add_argument("--worker", choices=("all", "half"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        _train(given)
        return
    for count, rows in ((1, "all"), (2, "all"), (2, "half")):
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        own = [f"--nproc-per-node={count}", *sys.argv, "--worker", rows]
        threads = {"OMP_NUM_THREADS": "1"}
        subprocess.run([*launch, *own], check=True, env=os.environ | threads)


def _train(given: argparse.Namespace) -> None:
    bare = _mebibytes("VmRSS")
    cut = 2 if given.worker == "half" else 1
    sizes = PartSizes(
        rct=given.rows // 2 // cut, obs=given.rows // cut, validation=10_000 // cut, test=1_000
    )
    draw = CouponSimulator(sizes=sizes).hybrid(int(os.environ["RANK"]) if cut == 2 else 0)
    rows = TrainingSet(rct=draw.rct, obs=draw.obs, validation=draw.validation)
    training = Training(epochs=3, batch_size=given.batch, weight_decay=(0.1,), members=5)
    network = MLP(hidden=tuple(given.hidden))
    with joined(same_rows=cut == 1):
        for name in given.methods:
            method = METHODS.make(name, network=network, training=training)
            Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
            before, start = _mebibytes("VmRSS"), time.process_time()
            method.fit_many([rows])
            took = time.process_time() - start
            with together():
                found = gathered((took, _mebibytes("VmHWM") - before, before - bare))
            if leads():
                busiest, added, held = (round(max(one), 1) for one in zip(*found, strict=True))
                row = {"method": name, "processes": len(found), "rows": given.worker}
                memory = {"rows_mib": held, "added_mib": added}
                print(json.dumps(row | {"cpu_s": busiest} | memory), flush=True)


def _mebibytes(entry: str) -> float:
    """Return an entry of the process's status."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{entry}:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
