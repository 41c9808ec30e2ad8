import pytest
import torch

from dfl.pipeline.segmenting import _held_out
from dfl.segments import Scores


def test_held_out_rows_of_a_group_count_together() -> None:
    own = torch.randn(300, 2, generator=torch.Generator().manual_seed(0)).double()
    people = torch.arange(300).repeat_interleave(4)
    choice = torch.ones(1_200, dtype=torch.int64)
    alone = _held_out(Scores(own, own), choice[:300], None)
    together = _held_out(Scores(own[people], own[people]), choice, people)
    assert together == pytest.approx(alone)
    apart = _held_out(Scores(own[people], own[people]), choice, None)
    assert apart["error"] == pytest.approx(alone["error"] / 2)
