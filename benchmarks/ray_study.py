"""What ``dfl allocate --engine ray`` costs on one machine beside one process.

    python benchmarks/ray_study.py FOLDER --rows 1e4 2e6 8e6

Score columns of 5 treatments, as benchmarks/scale_study.py makes them, on a cluster of two workers
that the program starts itself. CPU seconds are those of the program and of every process that it
started; memory is the most that was resident in one of them. Writes benchmarks/results/ray.json.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.scale_study import COST, REVENUE, make, same_bytes

PROGRAM = """
import json, logging, os, re, sys, time
from pathlib import Path
from dfl.budget import Budget
from dfl.pipeline.allocating_blocks import allocate_columns

source, output, engine, revenue, cost = sys.argv[1:]
clock = [time.perf_counter()]
if engine == "ray":
    import ray
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    options = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init("local", num_cpus=2, **options)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
clock.append(time.perf_counter())
columns = {"revenue": revenue.split(","), "cost": cost.split(","), "keep": ("id",)}
allocate_columns(Path(source), Path(output), Budget(per_head=0.8), engine=engine, **columns)
clock.append(time.perf_counter())

stats = {}
for path in Path("/proc").glob("[0-9]*/stat"):
    try:
        name, _, rest = path.read_text().partition("(")[2].rpartition(")")
        peak = re.search(r"VmHWM:\\s+(\\d+)", (path.parent / "status").read_text())
    except OSError:  # it has ended
        continue
    fields = rest.split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    stats[int(path.parent.name)] = (int(fields[1]), name, cpu, int(peak[1]) / 1024 if peak else 0)
ours = {os.getpid()}
while more := {pid for pid, one in stats.items() if one[0] in ours} - ours:
    ours |= more
workers = [stats[pid] for pid in ours if stats[pid][1].startswith("ray::")]
print(json.dumps({
    "start_s": clock[1] - clock[0],
    "allocate_s": clock[2] - clock[1],
    "cpu_s": sum(stats[pid][2] for pid in ours),
    "driver_cpu_s": stats[os.getpid()][2],
    "driver_mib": stats[os.getpid()][3],
    "worker_mib": max((one[3] for one in workers), default=0),
    "workers": len(workers),
    "processes": len(ours),
}))
"""


def measured(source: Path, output: Path, engine: str) -> dict[str, Any]:
    names = (",".join(REVENUE), ",".join(COST))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, source, output, engine, *names],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def study(folder: Path, rows: int) -> dict[str, Any]:
    source = folder / "in"
    make(source, rows)
    one, ray = (measured(source, folder / name, name) for name in ("processes", "ray"))
    same = same_bytes(folder / "processes", folder / "ray")
    for name in ("in", "processes", "ray"):
        shutil.rmtree(folder / name)
    result = {"rows": rows, "one": one, "ray": ray, "same_bytes": same, "load": os.getloadavg()[0]}
    print(json.dumps(result), flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=float, nargs="+", required=True)
    given = parser.parse_args()
    results = [study(given.folder, int(rows)) for rows in given.rows]
    less, more = results[-2:]  # both with blocks for two workers
    for engine in ("one", "ray"):
        spent = more[engine]["cpu_s"] - less[engine]["cpu_s"]
        slope = 1e6 * spent / (more["rows"] - less["rows"])
        print(f"{engine}: {slope:.2f} CPU s a million rows from {less['rows']:,} on")
    path = Path(__file__).parent / "results" / "ray.json"
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
