"""Policy trees: leaves, tables, options."""

from typing import Any

import pytest
import torch

from dfl.errors import InvalidValueError
from dfl.methods import PolicyTree, TsmSl
from dfl.models import MLP
from dfl.segments import SegmentModel, Tree
from tests.methods.toy import SMALL, logs

BASE = TsmSl(network=MLP((16,)), training=SMALL, rows="rct")


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_segments_are_the_leaves_of_a_tree(depth: int) -> None:
    model = PolicyTree(base=BASE, depth=depth).fit(rct=logs(4_000, seed=1))
    assert isinstance(model, SegmentModel)
    assert isinstance(model.segmenter, Tree)
    assert model.segmenter.depth == depth
    assert 2 <= model.segmenter.segments <= 2**depth
    assert int(model.table.rows.sum()) == pytest.approx(4_000 * 0.3, rel=0.15)
    # The toy's effect grows with the first feature, its cost with the third.
    assert set(model.segmenter.feature[torch.isfinite(model.segmenter.threshold)].tolist()) & {0, 2}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"depth": 0}, "depth must be >= 1"),
        ({"depth": 4}, r"depth must be in \[1, 3\], got 4"),
        ({"thresholds": 0}, "thresholds must be >= 1"),
        ({"least": 0}, "least must be >= 1"),
        ({"held_out": 0.0}, "held_out must be in"),
        ({"share": 1.5}, "share must be in"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidValueError, match=match):
        PolicyTree(**options)
