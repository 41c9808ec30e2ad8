"""STATE on ten million rows, beside one ordinary least squares of the same columns.

Off by default. Run with ``OMP_NUM_THREADS=1 pytest benchmarks/test_abtest.py --override-ini
addopts=--import-mode=importlib --benchmark-only``; needs 8 GB. Times are processor time, so that
they hold on a shared machine. STATE is the whole of it: starting values, EM to its tolerance,
sandwich error, check against the mean effect and verdict, given the covariate prediction. Least
squares is timed on STATE's own three columns (1, T, g), by this package's normal equations and by
numpy's ``lstsq``, and on (1, T, g) with the ten covariates. What was measured is kept in
``benchmarks/results/abtest_speed.json``.
"""

import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from dfl.abtest import Contrast
from dfl.abtest.regression.linear import least_squares
from dfl.abtest.state import State
from dfl.io import write_json

RESULTS = Path(__file__).parent / "results" / "abtest_speed.json"
ROWS, COVARIATES = 10_000_000, 10
LIMIT = 15  # times one least squares


def draw(rows: int) -> tuple[Contrast, np.ndarray]:
    """Make an experiment whose prediction comes from ten covariates; two in a thousand are far."""
    generator = np.random.default_rng(0)
    covariates = generator.standard_normal((COVARIATES, rows))
    prediction = np.tanh(covariates).sum(axis=0)
    treated = generator.random(rows) < 0.5
    outcome = prediction + 0.1 * treated + generator.standard_normal(rows)
    far = generator.integers(0, rows, rows // 500)
    outcome[far] += generator.uniform(4, 20, far.size) * float(outcome.std())
    return Contrast(treated=treated, outcome=outcome, prediction=prediction), covariates


def processor_seconds(work: Callable[[], Any], repeats: int = 3) -> float:
    """Return the least processor time of a few runs."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def columns(data: Contrast) -> np.ndarray:
    """Return STATE's columns, one per row of the matrix."""
    assert data.prediction is not None
    return np.stack([np.ones(data.rows), data.indicator, data.prediction])


def peak_bytes(data: Contrast) -> int:
    """Return what STATE allocates on top of the columns it is given."""
    tracemalloc.start()
    State().fit(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def keep(key: str, found: dict[str, float]) -> None:
    """Write numbers beside those of the other benchmark."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    write_json(RESULTS, results | {key: found})


def test_time(benchmark: BenchmarkFixture) -> None:
    data, covariates = draw(ROWS)
    state = processor_seconds(lambda: State().fit(data))
    own = columns(data)
    ours = processor_seconds(lambda: least_squares(own, data.outcome))
    design = np.ascontiguousarray(own.T)
    lstsq = processor_seconds(lambda: np.linalg.lstsq(design, data.outcome, rcond=None))
    wide = np.vstack([own, covariates])
    wide_ours = processor_seconds(lambda: least_squares(wide, data.outcome), repeats=2)
    found = {
        "rows": ROWS,
        "state_seconds": state,
        "least_squares_seconds": ours,
        "lstsq_seconds": lstsq,
        "least_squares_with_covariates_seconds": wide_ours,
        "ratio": state / ours,
        "ratio_to_lstsq": state / lstsq,
        "ratio_with_covariates": state / wide_ours,
        "em_steps": State().fit(data).diagnostics["iterations"],
    }
    keep("time", found)
    benchmark.extra_info.update(found)
    benchmark.pedantic(State().fit, (data,), rounds=1)
    assert found["ratio"] <= LIMIT


@pytest.mark.parametrize("rows", [1_000_000])
def test_memory_is_linear(benchmark: BenchmarkFixture, rows: int) -> None:
    sizes = (rows, 2 * rows, 4 * rows)
    per_row = [peak_bytes(draw(size)[0]) / size for size in sizes]
    found = {f"bytes_per_row_{size}": value for size, value in zip(sizes, per_row, strict=True)}
    keep("memory", found)
    benchmark.extra_info.update(found)
    benchmark.pedantic(State().fit, (draw(rows)[0],), rounds=1)
    assert max(per_row) <= 1.05 * min(per_row)
