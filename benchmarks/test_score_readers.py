"""Reading score columns from Parquet: pyarrow, as `dfl allocate` does, beside DuckDB and Polars.

Off by default. Run with ``pytest benchmarks/test_score_readers.py --benchmark-only``; one thread,
CPU seconds. Of 31 columns the ten of five treatments are asked for, and summed. DuckDB comes with
the extra ``peers``; in its second form the sums are pushed down to it, which is not what
an allocation asks for.
"""

import os
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # read when Polars is imported

import polars
import pyarrow as pa
import pyarrow.parquet as pq

ROWS, OTHERS = 3_000_000, 20
SCORES = [f"{kind}{arm}" for kind in "rc" for arm in range(5)]
duckdb = pytest.importorskip("duckdb", reason="DuckDB comes with the extra peers")


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(0)
    names = [*SCORES, *(f"x{number}" for number in range(OTHERS))]
    columns = {name: generator.random(ROWS, dtype=np.float32) for name in names}
    path = tmp_path_factory.mktemp("scores") / "scores.parquet"
    pq.write_table(pa.table({"id": np.arange(ROWS), **columns}), path, row_group_size=1 << 20)
    return path


def total(columns: list[np.ndarray]) -> float:
    return sum(float(one.sum(dtype=np.float64)) for one in columns)


def by_pyarrow(path: Path, names: list[str] | None = SCORES) -> float:
    file, found = pq.ParquetFile(path), 0.0
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=names, use_threads=False)
        found += total([table.column(name).to_numpy() for name in SCORES])
    return found


def all_columns(path: Path) -> float:
    return by_pyarrow(path, None)


def by_duckdb(path: Path) -> float:
    duckdb.sql("set threads = 1")
    asked = duckdb.sql(f"select {', '.join(SCORES)} from read_parquet('{path}')")
    batches = asked.to_arrow_reader(1 << 20)
    return sum(total([b.column(name).to_numpy() for name in SCORES]) for b in batches)


def sums_by_duckdb(path: Path) -> float:
    duckdb.sql("set threads = 1")
    sums = ", ".join(f"sum({name}::double)" for name in SCORES)
    return float(sum(duckdb.sql(f"select {sums} from read_parquet('{path}')").fetchall()[0]))


def by_polars(path: Path) -> float:
    table = polars.read_parquet(path, columns=SCORES)
    return total([table[name].to_numpy() for name in SCORES])


@pytest.mark.benchmark(group="ten score columns of 31, 3,000,000 rows", timer=process_time)
@pytest.mark.parametrize("read", [by_pyarrow, by_duckdb, sums_by_duckdb, by_polars, all_columns])
def test_score_columns(
    benchmark: BenchmarkFixture, scores: Path, read: Callable[[Path], float]
) -> None:
    found = benchmark.pedantic(read, args=(scores,), rounds=7, warmup_rounds=1)
    assert found == pytest.approx(by_pyarrow(scores), rel=1e-9)
