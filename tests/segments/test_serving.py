"""Served segments: one file, the same answers, damage found."""

from pathlib import Path

import pytest
import torch

from dfl.data import FeatureEncoder
from dfl.errors import DataError, DataNotFoundError, InvalidValueError, ShapeError
from dfl.segments import Tree
from dfl.segments.distil import STUDENTS, distilled
from dfl.segments.serving import ServedSegments
from tests.segments.made import plan

TREE = Tree(torch.tensor([0, 1, 1]), torch.tensor([0.0, 0.5, 0.5]), torch.tensor([0, 1, 2, 2]), 2)
NAMES = ("none", "5 %", "10 %")


def people(rows: int = 500) -> torch.Tensor:
    return torch.randn(rows, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["tree", *STUDENTS])
def test_a_file_serves_the_same(kind: str, tmp_path: Path) -> None:
    segmenter = TREE if kind == "tree" else distilled(TREE, people(), kind, seed=0)
    served = ServedSegments(segmenter, plan(), NAMES, FeatureEncoder.numeric(("a", "b")))
    served.save(f"{tmp_path}/served.safetensors")
    loaded = ServedSegments.load(f"{tmp_path}/served.safetensors")
    other = people(300)
    for budget in (0.0, 0.05, 0.5):
        assert loaded.treatment(other, budget).equal(served.treatment(other, budget))
    assert loaded.segment(other[:0]).shape == (0,)
    assert loaded.treatment_names == NAMES
    assert loaded.encoder == served.encoder


def test_a_treatment_is_looked_up() -> None:
    served = ServedSegments(TREE, plan(), NAMES)
    x = torch.tensor([[-1.0, 0], [-1, 1], [1, 0]])
    assert served.segment(x).tolist() == [0, 1, 2]
    assert served.treatment(x, 0.1).tolist() == [0, 1, 2]
    assert served.treatment(x, 0.0).tolist() == [0, 0, 0]


def test_wrong_rows_and_budgets_are_refused() -> None:
    served = ServedSegments(TREE, plan(), NAMES)
    with pytest.raises(ShapeError, match=r"features must be \(N, 2\)"):
        served.segment(torch.zeros(3, 5))
    with pytest.raises(InvalidValueError, match="features must be finite"):
        served.segment(torch.full((1, 2), torch.nan))
    with pytest.raises(InvalidValueError, match="at least the plan's smallest"):
        served.treatment(people(), -1)


def test_parts_that_do_not_fit_are_refused() -> None:
    two = Tree(torch.tensor([0]), torch.tensor([0.0]), torch.tensor([0, 1]), 2)
    with pytest.raises(ShapeError, match="plan must be for the segmenter's 2 segments"):
        ServedSegments(two, plan(), NAMES)
    with pytest.raises(ShapeError, match="must name every treatment"):
        ServedSegments(TREE, plan(), NAMES[:2])
    with pytest.raises(ShapeError, match="encoder must make 2 features"):
        ServedSegments(TREE, plan(), NAMES, FeatureEncoder.numeric(("a",)))


def test_damage_is_found(tmp_path: Path) -> None:
    path = tmp_path / "served.safetensors"
    with pytest.raises(DataNotFoundError, match="make them with 'dfl segment'"):
        ServedSegments.load(path)
    ServedSegments(TREE, plan(), NAMES).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match="does not hold served segments"):
        ServedSegments.load(path)
    path.write_bytes(whole.replace(b'\\\\\\"format\\\\\\": 1', b'\\\\\\"format\\\\\\": 9'))
    with pytest.raises(DataError, match="does not hold served segments"):
        ServedSegments.load(path)
