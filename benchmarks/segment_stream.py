"""Serves segments to a file of many people: seconds, peak memory, microseconds per row.

``python -m benchmarks.segment_stream --people 10000000`` writes a Parquet file of simulated
shoppers, makes segments on a small sample, distils them into each kind of classifier, and serves
the file with each in a process of its own, whose peak resident memory is reported. One row at a
time, and a block in memory, are timed too.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from dfl.data import CouponSimulator, PartSizes
from dfl.io import write_json
from dfl.methods import Hrc, Training, TsmSl
from dfl.models import AbstractModel
from dfl.pipeline import assign_file
from dfl.seeds import stream
from dfl.segments import SegmentModel
from dfl.segments.distil import STUDENTS, distilled
from dfl.segments.plan import Planning
from dfl.segments.serving import ServedSegments
from dfl.solvers import Stochastic

RESULTS = Path(__file__).parent / "results" / "segment_stream.json"
_BLOCK = 200_000


def write_people(path: Path, people: int) -> None:
    simulator = CouponSimulator()
    schema = pa.schema([(name, pa.float32()) for name in simulator.feature_names])
    with pq.ParquetWriter(path, schema) as written:
        for start in range(0, people, _BLOCK):
            rows = simulator.draw(min(_BLOCK, people - start), generator=stream(start, "people"))
            columns = [pa.array(one.numpy()) for one in rows.features.T.contiguous()]
            written.write_table(pa.table(columns, schema=schema))


def made() -> tuple[SegmentModel, torch.Tensor]:
    draw = CouponSimulator(sizes=PartSizes(rct=20_000, obs=100, test=1_000)).hybrid(0)
    training = Training(members=2, weight_decay=(0.3,))
    method = Hrc(base=TsmSl(rows="rct", training=training), counts=(10,))
    model: AbstractModel = method.fit(rct=draw.rct, validation=draw.validation)
    assert isinstance(model, SegmentModel)
    assert draw.rct is not None
    return model, draw.rct.features


def serve(path: Path, customers: Path, output: Path) -> dict[str, float]:
    """Serve one file in this process."""
    served = ServedSegments.load(path)
    budget = float(served.plan.budgets[len(served.plan.budgets) // 2])
    start = time.process_time(), time.perf_counter()
    done = assign_file(served, customers, output, budget, overwrite=True)
    people = sum(done.segments)
    seconds = time.process_time() - start[0]
    features = CouponSimulator().draw(_BLOCK, generator=stream(1, "people")).features
    before = time.process_time()
    served.treatment(features, budget)
    block = time.process_time() - before
    one = features[:1]
    before = time.process_time()
    for _ in range(1_000):
        served.treatment(one, budget)
    single = time.process_time() - before
    return {
        "people": people,
        "cpu_seconds": seconds,
        "wall_seconds": time.perf_counter() - start[1],
        "cpu_microseconds_per_row_of_the_file": 1e6 * seconds / people,
        "cpu_microseconds_per_row_of_a_block": 1e6 * block / _BLOCK,
        "cpu_microseconds_for_a_single_row": 1e3 * single,
        "peak_memory_mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "file_kibibytes": path.stat().st_size / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=10_000_000)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--serve", type=Path, nargs=3, help="for a process of its own")
    chosen = parser.parse_args()
    if chosen.serve:
        print(json.dumps(serve(*chosen.serve)))
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        customers = Path(folder) / "people.parquet"
        write_people(customers, chosen.people)
        model, features = made()
        planning = Planning(solver=Stochastic(engine="greedy-dual"))
        plan = planning.plan(model.table, planning.grid(model.table, 10, seed=0), seed=0)
        names, encoder = CouponSimulator().treatment_names, CouponSimulator().encoder
        segmenters = {"networks": model.segmenter}
        segmenters |= {one: distilled(model.segmenter, features, one, seed=0) for one in STUDENTS}
        for kind, segmenter in segmenters.items():
            path = Path(folder) / f"{kind}.safetensors"
            ServedSegments(segmenter, plan, names, encoder).save(path)
            own = [sys.executable, "-m", "benchmarks.segment_stream", "--serve"]
            output = str(Path(folder) / "assigned.parquet")
            done = subprocess.run(
                [*own, str(path), str(customers), output],
                capture_output=True,
                text=True,
                check=True,
            )
            results[kind] = json.loads(done.stdout)
            print(kind, results[kind], flush=True)
            write_json(chosen.results, results)


if __name__ == "__main__":
    main()
