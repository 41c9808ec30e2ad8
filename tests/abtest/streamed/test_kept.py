import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from dfl.abtest.streamed.kept import Block, Keeper
from dfl.errors import WriteError


def block(arms: list[str], codes: list[int], *, odd: str = "") -> Block:
    values = np.arange(float(len(codes)))
    metrics = {odd: (values, None), "a/b": (2 * values, 1 + values)}
    return Block(arms, np.array(codes), metrics, values[:, None], np.array(codes))


def test_rows_come_back_in_order_whatever_arms_a_block_has(tmp_path: Path) -> None:
    with ExitStack() as files:
        keeper = Keeper(files)
        keeper.add(block(["x", "y"], [0, 1, 1]))
        keeper.add(block(["z", "x"], [1, 0, 1, 1]))
        kept = keeper.kept()
    assert kept.keys() == {"", "a/b"}
    rows = kept["a/b"]
    assert (rows.arms, rows.codes.tolist()) == (("x", "y", "z"), [0, 1, 1, 0, 2, 0, 0])
    assert rows.above.tolist() == [0, 2, 4, 0, 2, 4, 6]
    assert rows.below is not None
    assert rows.below.tolist() == [1, 2, 3, 1, 2, 3, 4]
    assert kept[""].below is None
    some = rows.only("x", "z")
    assert some.above.tolist() == [0, 0, 2, 4, 6]
    assert some.covariates is not None
    assert some.covariates.tolist() == [[0], [0], [1], [2], [3]]
    assert rows.only("z", "y", "x") is rows


def test_a_disk_without_room_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    with ExitStack() as files, pytest.raises(WriteError, match="temporary file in /no/such"):
        Keeper(files).add(block(["x"], [0]))
    monkeypatch.undo()
    full = Path("/dev/full").open("wb")  # noqa: SIM115  # the stack closes it
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: full)
    with ExitStack() as files, pytest.raises(WriteError, match="No space left on device"):
        Keeper(files).add(block(["x"], [0] * 9_000))
