import tempfile
from pathlib import Path

import numpy as np
import pytest

from dfl.errors import WriteError
from dfl.scale import on_disk


def test_an_array_on_disk_is_an_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = on_disk((3, 1000))
    assert (found.shape, found.dtype, type(found)) == ((3, 1000), np.float64, np.ndarray)
    assert not found.any()
    found[1] = np.arange(1000)
    assert float((found @ found.T)[1, 1]) == 332_833_500
    assert list(tmp_path.iterdir()) == []  # nothing to be left after a kill
    assert on_disk(4, np.bool_).dtype == np.bool_
    assert on_disk((5, 0)).shape == (5, 0)


def test_a_disk_without_room_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    with pytest.raises(WriteError, match=r"could not keep 800 bytes in a temporary file in /no/"):
        on_disk(100)
    monkeypatch.undo()
    with pytest.raises(WriteError, match="Make room, or name another folder by TMPDIR"):
        on_disk(1 << 58)
