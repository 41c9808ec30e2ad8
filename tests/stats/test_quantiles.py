"""Exact quantiles of values that are read part by part."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dfl.stats.quantiles as module
from dfl.scale import Chunks
from dfl.stats.quantiles import quantiles

LEVELS = (0.0, 0.001, 0.25, 0.5, 0.9, 0.999, 1.0)


def some_values(kind: str, rows: int, seed: int) -> Any:
    draw = np.random.default_rng(seed)
    return {
        "normal": lambda: draw.normal(size=rows),
        "mostly 0": lambda: np.where(draw.random(rows) < 0.7, 0.0, draw.lognormal(size=rows)),
        "whole": lambda: draw.integers(-1, 2, rows).astype(float),
        "all the same": lambda: np.full(rows, 3.0),
        "in turns": lambda: np.arange(rows) % 7 * 1.0,
        "in order": lambda: np.sort(draw.standard_cauchy(rows)),
        "one is large": lambda: np.where(np.arange(rows) == rows // 3, 1e300, 0.0),
        "two lumps": lambda: np.where(np.arange(rows) < rows / 2, -1.0, 1.0),
    }[kind]()


KINDS = ("normal", "mostly 0", "whole", "all the same", "in turns", "in order", "one is large")


@given(
    st.sampled_from((*KINDS, "two lumps")),
    st.integers(1, 400),
    st.integers(0, 9),
    st.lists(st.floats(0, 1), min_size=1, max_size=4),
    st.integers(1, 60),
)
def test_they_are_numpys_whatever_a_sample_says(
    kind: str, rows: int, seed: int, levels: list[float], sample: int
) -> None:
    values = some_values(kind, rows, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ALL", 0)
        patch.setattr(module, "_SAMPLE", sample)
        patch.setattr(module, "_WIDTH", 0.5)  # samples err
        patch.setattr(module, "PARTS", Chunks(13))
        assert quantiles(values.__getitem__, rows, levels) == np.quantile(values, levels).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_many_rows_are_read_in_parts(kind: str) -> None:
    values, longest = some_values(kind, 200_000, 0), 0

    def read(rows: Any) -> Any:
        nonlocal longest
        longest = max(longest, len(values[rows]))
        return values[rows]

    assert quantiles(read, len(values), LEVELS) == np.quantile(values, LEVELS).tolist()
    assert longest < 50_000
