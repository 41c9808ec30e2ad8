"""What ``dfl ab`` over a folder costs beside reading its columns, and how much memory it takes.

    python -m benchmarks.ab_study FOLDER --rows 1e6 1e7

Makes Parquet files of 1,048,576 rows (an arm, a metric with Student-t tails, a covariate, 20
segments, ten rows a user, users of whole arms) and reads them in one process each. CPU seconds
from the command on, imports left out; memory is the most that was anonymous (RssAnon, seen every
10 ms) above that of an interpreter that has imported the same, and the rest of what was resident
the system's cache of files. Writes benchmarks/results/ab.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PER_FILE = 1 << 20
COLUMNS = ("arm", "spend", "past", "city", "user_arm", "user_spend", "user")
PLAIN = ("--treatment", "arm", "--metric", "spend")
USERS = ("--treatment", "user_arm", "--metric", "user_spend", "--clusters", "user")
MEANS, WINSORISED, HUBER, STATE = (
    ("--estimator", name) for name in ("difference-in-means", "winsorised", "huber", "state")
)
CASES: dict[str, tuple[str, ...]] = {
    "difference-in-means": (*PLAIN, *MEANS),
    "winsorised": (*PLAIN, *WINSORISED),
    "huber": (*PLAIN, *HUBER),
    "state": (*PLAIN, *STATE),
    "state, a covariate": (*PLAIN, "--covariates", "past", *STATE),
    "aipw, a covariate": (*PLAIN, "--covariates", "past", "--estimator", "aipw"),
    "20 segments": (*PLAIN, "--segment", "city", *MEANS),
    "clusters": (*USERS, *MEANS),
    "clusters, state": (*USERS, *STATE),
    "10 splits of an A/A test": (*PLAIN, *MEANS, "--aa", "10"),
}
PROGRAM = """
import sys, time
from dfl.cli import main
import dfl.cli.ab, matplotlib.figure, scipy.stats, sklearn.ensemble
started = time.process_time()
print("ready", flush=True)
sys.stdin.readline()
try:
    if len(sys.argv) > 1:
        main()
finally:
    print("seconds", time.process_time() - started, flush=True)
    sys.stdin.readline()
"""


def make(folder: Path, rows: int) -> None:
    """Write the files."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    users = rows // 10
    arm_of, of_user = draw.integers(0, 2, users), draw.gamma(1.0, size=users)
    for number, start in enumerate(range(0, rows, PER_FILE)):
        size = min(PER_FILE, rows - start)
        arm, past = draw.integers(0, 2, size), draw.gamma(2.0, size=size)
        user = draw.integers(0, users, size)
        spend = past + 0.1 * arm + draw.standard_t(3, size)
        columns = {"arm": arm.astype(np.int8), "spend": spend, "past": past, "user": user}
        columns["city"] = (user % 20).astype(np.int8)
        columns["user_arm"] = arm_of[user].astype(np.int8)
        columns["user_spend"] = spend + of_user[user] + 0.1 * arm_of[user]
        pq.write_table(pa.table(columns), folder / f"{number:03d}.parquet")


def read(folder: Path, columns: list[str]) -> float:
    """Return the CPU seconds that pyarrow takes to read columns, on one thread."""
    started = time.process_time()
    for file in sorted(folder.glob("*.parquet")):
        pq.read_table(file, columns=columns, use_threads=False)
    return time.process_time() - started


def measure(*words: object) -> dict[str, float]:
    """Run a command, and return its CPU seconds and memory in MB."""
    command = [sys.executable, "-c", PROGRAM, *map(str, words)]
    with (
        tempfile.NamedTemporaryFile("w") as said,
        subprocess.Popen(command, stdin=-1, stdout=said, text=True) as process,
    ):
        assert process.stdin is not None
        while not line_of(said.name, "ready"):
            time.sleep(0.01)
        before, most = anonymous(process.pid), 0
        process.stdin.write("\n")
        process.stdin.flush()
        while not (seconds := line_of(said.name, "seconds")):
            most = max(most, anonymous(process.pid))
            time.sleep(0.01)
        process.stdin.write("\n")
    return {"seconds": float(seconds.split()[1]), "anonymous": (most - before) / 1e3}


def line_of(said: str, word: str) -> str:
    """Return the whole line of a file that begins with a word, if it was written."""
    lines = Path(said).read_text().splitlines(keepends=True)
    return next((one for one in lines if one.startswith(word) and one.endswith("\n")), "")


def anonymous(process: int) -> int:
    """Return the memory of a process that is no copy of a file, in kB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1])
    raise SystemExit("this system does not tell what memory is anonymous")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=float, nargs="+", default=[1e6])
    asked = parser.parse_args()
    found: list[dict[str, object]] = []
    for rows in map(int, asked.rows):
        folder = asked.folder / str(rows)
        make(folder, rows)
        for name, words in CASES.items():
            used = [word for word in words if word in COLUMNS]
            done = measure("ab", folder, *words, "-o", asked.folder / f"out-{rows}-{len(found)}")
            reading = read(folder, used)
            found.append({"rows": rows, "case": name, **done, "reading": reading})
            print(found[-1], flush=True)
    Path(__file__).with_name("results").joinpath("ab.json").write_text(
        json.dumps(found, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
