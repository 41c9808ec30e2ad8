"""What ``dfl allocate`` over a data set costs beside reading and writing the same files.

    python benchmarks/scale_study.py FOLDER --rows 1e7 1e8 --kills 3

Makes score columns of 5 treatments in files of 4,194,304 rows, allocates them, checks the result
and writes benchmarks/results/scale.json. CPU seconds of whole processes, start included; memory
is the most that was resident above an interpreter that has imported dfl and pyarrow.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from dfl.problem import AllocationProblem
from dfl.solvers import GreedyDual

TREATMENTS, PER_FILE = 5, 1 << 22
REVENUE, COST = ([f"{kind}{j}" for j in range(TREATMENTS)] for kind in "rc")
# Memory as the process itself sees it: what wait4 tells counts that of the parent, too.
PROGRAM = """
import re, sys
from pathlib import Path
from dfl.cli import main
import dfl.cli.allocate, pyarrow.parquet
try:
    if len(sys.argv) > 1:
        main()
finally:
    status = Path("/proc/self/status").read_text()
    print("VmHWM", re.search(r"VmHWM:\\s+(\\d+)", status).group(1))
"""
READ_AND_WRITE = """
import sys, time
from pathlib import Path
import pyarrow.parquet as pq
source, output, copy = map(Path, sys.argv[1:])
spent = 0.0
for file in sorted(source.glob("*.parquet")):
    started = time.process_time()
    table = pq.read_table(file)
    spent += time.process_time() - started
    del table
for file in sorted(output.glob("*.parquet")):
    table = pq.read_table(file)
    started = time.process_time()
    pq.write_table(table, copy / file.name)
    spent += time.process_time() - started
    (copy / file.name).unlink()
print(spent)
"""


def make(folder: Path, rows: int) -> None:
    """Write noisy concave responses, as benchmarks/test_solvers.py has them."""
    folder.mkdir()
    for number, start in enumerate(range(0, rows, PER_FILE)):
        count, draw = min(PER_FILE, rows - start), np.random.default_rng(number)
        cost = draw.random((TREATMENTS, count), dtype=np.float32)
        cost[0] = 0
        gain = draw.random((TREATMENTS, count), dtype=np.float32)
        gain *= (0.7 ** np.arange(TREATMENTS, dtype=np.float32))[:, None]
        columns = {"id": np.arange(start, start + count)}
        columns |= dict(zip(REVENUE, gain.cumsum(0, dtype=np.float32), strict=True))
        columns |= dict(zip(COST, cost.cumsum(0, dtype=np.float32), strict=True))
        file = folder / f"people-{number:04d}.parquet"
        pq.write_table(pa.table(columns), file, row_group_size=1 << 20)


def measured(command: list[str], kill_after: float | None = None) -> dict[str, Any]:
    """Run a program; return CPU and wall seconds, most memory and output."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(process.pid, signal.SIGKILL)  # send_signal would collect its state
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if kill_after is None and process.returncode:
        raise SystemExit(f"{command} failed: {printed}")
    return {
        "cpu_s": used.ru_utime + used.ru_stime,
        "wall_s": time.perf_counter() - started,
        "peak_mib": int(printed.rpartition("VmHWM ")[2] or 0) / 1024 if "VmHWM" in printed else 0,
        "code": process.returncode,
        "printed": printed,
    }


def allocate(source: Path, output: Path, per_head: float) -> list[str]:
    scores = ["--revenue", ",".join(REVENUE), "--cost", ",".join(COST), "--keep", "id"]
    command = [sys.executable, "-c", PROGRAM, "allocate", "-", str(source), "-o", str(output)]
    return [*command, "--budget-per-head", str(per_head), *scores]


def sample_agrees(source: Path, output: Path) -> dict[str, Any]:
    """Allocate the first million rows in memory at the whole's multiplier; compare the choices."""
    found = json.loads((output / "_allocation.json").read_text(encoding="utf-8"))
    part = pq.read_table(output / "part-00000.parquet", columns=["treatment", "predicted_cost"])
    first = sorted(source.glob("*.parquet"))[0]
    with pq.ParquetFile(first) as file:
        table = file.read_row_group(0, columns=[*REVENUE, *COST])
    table = table.slice(0, len(part))
    revenue, cost = (
        torch.from_numpy(np.stack([table.column(name).to_numpy() for name in names], axis=1))
        for names in (REVENUE, COST)
    )
    spent = float(part.column("predicted_cost").to_numpy().sum(dtype=np.float64))
    alone = GreedyDual().solve(AllocationProblem(revenue, cost, spent))
    given = torch.from_numpy(part.column("treatment").to_numpy().copy())
    return {
        "rows": len(part),
        "differ": int((alone.choice != given).sum()),
        "multiplier_alone": float(alone.multiplier),
        "multiplier": found["multiplier"],
    }


def same_bytes(one: Path, other: Path) -> bool:
    names = sorted(file.name for file in one.iterdir())
    return names == sorted(file.name for file in other.iterdir()) and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in names
    )


def study(folder: Path, rows: int, kills: int) -> dict[str, Any]:
    source, output, again, copy = (folder / name for name in ("in", "out", "again", "copy"))
    make(source, rows)
    command = allocate(source, output, 0.8)
    idle = measured([sys.executable, "-c", PROGRAM])
    done = measured(command)
    copy.mkdir()
    plain = measured([sys.executable, "-c", READ_AND_WRITE, *map(str, (source, output, copy))])
    base = float(plain["printed"])
    found = json.loads((output / "_allocation.json").read_text(encoding="utf-8"))
    result = {
        "rows": rows,
        "cpu_s": done["cpu_s"],
        "wall_s": done["wall_s"],
        "read_and_write_cpu_s": base,
        "times_read_and_write": done["cpu_s"] / base,
        "memory_above_interpreter_mib": done["peak_mib"] - idle["peak_mib"],
        "gap": (found["upper_bound"] - found["revenue"]) / found["upper_bound"],
        "within_budget": found["cost"] <= found["budget"] * (1 + 1e-9),
        "sample": sample_agrees(source, output),
    }
    if kills:
        for number in range(kills):
            after = done["wall_s"] * (number + 1) / (kills + 1)
            if not again.exists():
                measured(allocate(source, again, 0.8), kill_after=after)
        if not again.exists():
            measured(allocate(source, again, 0.8))
        result["killed"] = {"times": kills, "same_bytes": same_bytes(output, again)}
    shutil.rmtree(folder)
    return result


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", type=Path, help="for the data; made, and removed at the end")
    asked.add_argument("--rows", type=float, nargs="+", default=[1e6, 1e7])
    asked.add_argument("--kills", type=int, default=0)
    given = asked.parse_args()
    target = Path(__file__).parent / "results" / "scale.json"
    known = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    for rows in given.rows:
        given.folder.mkdir(parents=True)
        known[f"{int(rows)}"] = study(given.folder, int(rows), given.kills if rows >= 1e7 else 0)
        print(json.dumps(known[f"{int(rows)}"], indent=2), flush=True)
        target.write_text(f"{json.dumps(known, indent=2)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
