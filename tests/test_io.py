import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from dfl.errors import DataError, WriteError
from dfl.io import check_folder, read_tensors, write_json, write_tensors, write_whole


def full_disk(path: Path) -> None:
    """Get half a file out before the disk is full."""
    path.write_text("half of what was to be wri")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def write_new(path: Path) -> None:
    path.write_text("new")


def test_a_file_is_written(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", write_new)
    assert (tmp_path / "a.txt").read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    write_whole(tmp_path / "a.txt", write_new)
    assert (tmp_path / "a.txt").read_text() == "new"


def test_the_file_appears_under_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    seen = []

    def write(temporary: Path) -> None:
        temporary.write_text("new")
        seen.append((temporary.parent, path.exists()))

    write_whole(path, write)
    assert seen == [(tmp_path, False)]  # same folder, so that the rename stays on one disk


def test_a_full_disk_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(
        WriteError,
        match=r"^could not write .*a\.txt: No space left on device; what stood there before is "
        r"untouched\. Free some space or choose another folder\.$",
    ) as caught:
        write_whole(path, full_disk)
    assert isinstance(caught.value.__cause__, OSError)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_disk_that_is_full_only_at_sync_counts_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(WriteError, match="No space left on device"):
        write_whole(tmp_path / "a.txt", write_new)
    assert os.listdir(tmp_path) == []


def test_an_error_of_the_writer_itself_passes_and_leaves_no_rubbish(tmp_path: Path) -> None:
    def write(temporary: Path) -> None:
        temporary.write_text("half")
        raise KeyError("column")

    with pytest.raises(KeyError, match="column"):
        write_whole(tmp_path / "a.txt", write)
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"b/a\.txt: No such file or directory"):
        write_whole(tmp_path / "b" / "a.txt", write_new)


def test_a_file_where_the_folder_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("old")
    with pytest.raises(WriteError, match=r"b/a\.txt: Not a directory"):
        write_whole(tmp_path / "b" / "a.txt", write_new)


def test_a_folder_in_the_way_is_said_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.mkdir()
    with pytest.raises(WriteError, match=r"a\.txt: Is a directory"):
        write_whole(path, write_new)
    assert os.listdir(tmp_path) == ["a.txt"]
    assert path.is_dir()


def test_the_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("new")
    write_whole(tmp_path / "a.txt", write_new)
    plain, ours = (tmp_path / name for name in ("plain.txt", "a.txt"))
    assert ours.stat().st_mode == plain.stat().st_mode


def test_json_is_readable_and_ends_in_a_newline(tmp_path: Path) -> None:
    content: dict[str, Any] = {"eom": 0.25, "name": "Bon de réduction", "seeds": [1, 2]}
    write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert json.loads(text) == content
    assert list(json.loads(text)) == list(content)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_refuses_what_json_has_no_word_for(tmp_path: Path, number: float) -> None:
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"eom": number})
    assert (tmp_path / "a.json").read_text() == "old"


def test_tensors_come_back_with_their_metadata(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor(3)}
    for name in ("one", "two"):
        write_tensors(tmp_path / name, tensors, {"epoch": "3", "history": "0" * 64})
    found, metadata = read_tensors(tmp_path / "one")
    assert metadata == {"epoch": "3", "history": "0" * 64}
    assert torch.equal(found["a"], tensors["a"])
    assert torch.equal(found["b"], tensors["b"])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_every_flipped_bit_and_every_cut_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"a": torch.arange(4.0)}, {"epoch": "3"})
    content = path.read_bytes()
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            metadata = read_tensors(path)[1]
        except DataError:
            continue
        assert "epoch" not in metadata, bit  # taken for an older file, of which nothing is known
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"unreadable|damaged"):
            read_tensors(path)


def test_tensors_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(save({"a": torch.ones(2)}, {"dfl": "{}"}))
    assert read_tensors(tmp_path / "a")[1] == {"dfl": "{}"}
    with pytest.raises(DataError, match="b is unreadable"):
        read_tensors(tmp_path / "b")


def test_a_link_stays_one_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "b.txt").write_text("old")
    (tmp_path / "a.txt").symlink_to("disk/b.txt")
    write_whole(tmp_path / "a.txt", write_new)
    assert (tmp_path / "a.txt").is_symlink()
    assert (tmp_path / "disk" / "b.txt").read_text() == "new"
    assert os.listdir(tmp_path / "disk") == ["b.txt"]


def test_a_pipe_or_a_device_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    for name in ("pipe", "null"):
        with pytest.raises(WriteError, match="it is a device or a pipe; choose a file"):
            write_whole(tmp_path / name, write_new)
    assert (tmp_path / "pipe").is_fifo()
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_who_may_read_a_file_stays_when_it_is_replaced(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(mode)
    write_whole(path, write_new)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", mode)


@pytest.mark.parametrize("name", ["n" * 255, "\u65e5" * 85])
def test_a_name_may_be_as_long_as_the_file_system_takes(name: str, tmp_path: Path) -> None:
    write_whole(tmp_path / name, write_new)
    assert os.listdir(tmp_path) == [name]


def test_a_folder_that_cannot_be_made_or_written_is_known_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_folder(tmp_path / "new" / "folder")
    (tmp_path / "file").write_text("x")
    with pytest.raises(WriteError, match=r"could not make the folder .*: .*file is a file; choose"):
        check_folder(tmp_path / "file" / "folder")
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write all
    with pytest.raises(WriteError, match=r"you may not write in .*; choose another folder"):
        check_folder(tmp_path / "new" / "folder")
