"""The folder that blocks are written to, and the one beside it that holds what is unfinished."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfl.errors import InvalidValueError, RunFolderError, WriteError
from dfl.io import UNFINISHED, make_folder, write_bytes, write_json
from dfl.pipeline.dataset import DataSet

__all__ = [
    "check_output_folder",
    "open_work",
    "part_name",
    "put_into_place",
    "seal_work",
    "work_of",
]


def work_of(output: Path) -> Path:
    """Return the folder that holds an unfinished allocation."""
    return output.with_name(f".{output.name}.part")


def part_name(number: int, blocks: int) -> str:
    """Return the name of a block's file, one of so many: by name they are in order."""
    return f"part-{number:0{max(5, len(str(blocks - 1)))}d}.parquet"


def open_work(work: Path, output: Path, asked: Mapping[str, Any]) -> None:
    """Go on with what an earlier start of the same allocation left whole, or begin.

    Args:
        work: the folder, which is there.
        output: where the allocation is to stand; what a start moved aside returns there.
        asked: what is to be allocated, as plain data.

    Raises:
        RunFolderError: if what is left is of another allocation.
    """
    for file in work.rglob("*"):
        if UNFINISHED.fullmatch(file.name):
            file.unlink(missing_ok=True)
    if (work / "old").exists() and not output.exists():
        (work / "old").rename(output)
    plan, written = work / "plan.json", work / "passes" / "written"
    known = None
    with contextlib.suppress(FileNotFoundError, ValueError):
        known = json.loads(plan.read_text(encoding="utf-8"))
    if written.exists() and not (work / "rows").exists():  # it had finished, and was put into place
        shutil.rmtree(written)
        known = None if known != asked else known
    if known is None:
        shutil.rmtree(work / "passes", ignore_errors=True)
        shutil.rmtree(work / "scores", ignore_errors=True)
        write_json(plan, asked)
    elif known != asked:
        raise RunFolderError(
            f"{work} holds an unfinished allocation of other files, scores, budget or columns; "
            "finish it by the command that began it, or delete that folder."
        )
    else:
        _drop_damaged(work)


def seal_work(work: Path, path: Path) -> None:
    """Keep the checksum of a file in the work folder, for the start that finds it there.

    Raises:
        WriteError: if it could not be written.
    """
    sums = work / "sums" / path.relative_to(work)
    make_folder(sums.parent)
    write_bytes(sums, _checksum(path))


def _checksum(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().encode()


def _drop_damaged(work: Path) -> None:
    """Remove what is not as it was written, or was not written to the end: it is made again."""
    for kind in ("scores", "passes", "rows"):
        for file in [*(work / kind).rglob("*")]:
            sums = work / "sums" / file.relative_to(work)
            if file.is_file() and not (sums.is_file() and sums.read_bytes() == _checksum(file)):
                file.unlink()
    there = {int(part.stem.partition("-")[2]) for part in (work / "rows").glob("part-*.parquet")}
    for counted in [*(work / "passes" / "written").glob("*.npz")]:
        if int(counted.stem) not in there:
            counted.unlink()


def put_into_place(work: Path, output: Path, *, overwrite: bool) -> None:
    """Rename the finished rows to the output; what stood there lies in the work folder until then.

    After a kill at any point the output is whole, old or new, or both are in the work folder and
    the same allocation goes on.

    Args:
        work: the folder, with all rows in ``rows``.
        output: where they are to stand; no path that depends on the working directory.
        overwrite: whether it may replace an earlier allocation.

    Raises:
        InvalidValueError: if something stands there that it may not replace.
        WriteError: if a folder cannot be renamed.
    """
    old = work / "old"
    try:
        _check_replaceable(output, overwrite=overwrite)
    except InvalidValueError as error:
        raise InvalidValueError(
            f"{error} It came while the allocation was made, which lies in {work}; the same "
            "command goes on from there."
        ) from error
    try:
        if output.exists():
            shutil.rmtree(old, ignore_errors=True)
            output.rename(old)
        (work / "rows").rename(output)
        (work / "plan.json").unlink()  # the rest of the folder is of no allocation any more
    except OSError as error:
        raise WriteError(
            f"could not put the allocation in its place {output} ({error.strerror}); it lies in "
            f"{work}, and the same command goes on once folders there can be renamed."
        ) from error


def check_output_folder(output: Path, data: DataSet, *, overwrite: bool) -> Path:
    """Refuse a folder that could not be written, before anything that takes long.

    Args:
        output: where blocks are to go.
        data: the customers.
        overwrite: whether it may replace an earlier allocation.

    Returns:
        The output by a path that holds in every working directory.

    Raises:
        InvalidValueError: if it exists, is a link, lies in no folder, holds customers, or would
            be read as customers.
    """
    if not output.absolute().parent.is_dir():
        raise InvalidValueError(f"output must lie in a folder that exists, got {output}.")
    if output.is_symlink():
        raise InvalidValueError(f"output must be a folder, not a link to one, got {output}.")
    _check_replaceable(output, overwrite=overwrite)
    inside = output.resolve()
    if any(inside in file.resolve().parents for file in data.files):
        raise InvalidValueError(f"output must not hold the customers' files, got {output}.")
    data.check_outside(output / part_name(0, len(data.blocks)))
    return inside


def _check_replaceable(output: Path, *, overwrite: bool) -> None:
    if output.exists() and not overwrite:
        raise InvalidValueError(
            f"output {output} exists already; choose another folder, or overwrite it by "
            "--overwrite."
        )
    if output.exists() and not (output / "_allocation.json").is_file():
        raise InvalidValueError(
            f"output {output} is no folder that an allocation wrote; it is left alone. Choose "
            "another one."
        )
