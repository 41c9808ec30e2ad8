import numpy as np
import pyarrow as pa
import pytest
import torch

from dfl.errors import DataError
from dfl.pipeline.scoring import ColumnScores

ROWS = 2 * 8_192 + 3  # two tiles and a bit
SCORES = ColumnScores(("r0", "r1"), ("c0", "c1"))


def columns(*kinds: str) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {
        name: draw.integers(0, 99, ROWS).astype(kind)
        for name, kind in zip(("r0", "r1", "c0", "c1"), kinds, strict=True)
    }


@pytest.mark.parametrize(
    ("kinds", "dtype"),
    [
        (("float32",) * 4, torch.float32),
        (("float64",) * 4, torch.float64),
        (("float32", "float64", "int64", "float32"), torch.float64),
    ],
)
@pytest.mark.parametrize("rows", [0, 1, ROWS])
def test_columns_lie_side_by_side(kinds: tuple[str, ...], dtype: torch.dtype, rows: int) -> None:
    given = {name: values[:rows] for name, values in columns(*kinds).items()}
    revenue, cost = SCORES.of(pa.table(given))
    for found, names in ((revenue, SCORES.revenue), (cost, SCORES.cost)):
        assert found.dtype == dtype
        assert found.equal(
            torch.from_numpy(np.stack([given[one] for one in names], axis=1)).to(dtype)
        )


def test_columns_in_several_pieces_and_slices() -> None:
    whole = pa.table(columns(*["float32"] * 4))
    parts = pa.concat_tables([whole[:5_000], whole[5_000:]])[17:]
    for one, other in zip(SCORES.of(parts), SCORES.of(whole), strict=True):
        assert one.equal(other[17:])


def test_a_missing_number_is_nan_and_text_is_refused() -> None:
    given = columns(*["float32"] * 4)
    missing = pa.array(given["r1"], mask=np.arange(ROWS) == 9_000)
    revenue, _ = SCORES.of(pa.table({**given, "r1": missing}))
    assert revenue.isnan().nonzero().tolist() == [[9_000, 1]]
    with pytest.raises(DataError, match="column 'c1' must hold numbers"):
        SCORES.of(pa.table({**given, "c1": ["free"] * ROWS}))
