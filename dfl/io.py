"""Files that are written whole or not at all."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from dfl.errors import DataError, WriteError

__all__ = [
    "UNFINISHED",
    "check_folder",
    "is_special",
    "make_folder",
    "read_tensors",
    "write_bytes",
    "write_json",
    "write_tensors",
    "write_whole",
]

_ROOM = 200  # bytes of a name that a temporary one takes over
_KEY, _BLANK = "dfl.io", "0" * 64  # where the checksum stands, and what stands there meanwhile

UNFINISHED = re.compile(r"\..+\.[0-9a-f]{32}\.part")
"""Names of files that `write_whole` had not put into place when its process was killed."""


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name in the same folder, then rename it into place.

    Args:
        path: where the file shall stand; an old file there is replaced at once, and whoever could
            read it can read the new one. Of a link, what it leads to is replaced.
        write: writes to the path it is given.

    Raises:
        WriteError: if anything fails (disk full, folder missing, no permission), or a device or
            a pipe stands there; the temporary file is removed and what stood at ``path`` is
            untouched.
    """
    if os.path.islink(path):
        path = Path(os.path.realpath(path))
    if is_special(path):
        raise WriteError(f"could not write {path}: it is a device or a pipe; choose a file.")
    # Not tempfile.mkstemp: its files can be read by their owner alone, and stay so when renamed.
    temporary = path.with_name(f".{_short(path.name)}.{uuid.uuid4().hex}.part")
    try:
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        if path.is_file() and path.stat().st_mode != temporary.stat().st_mode:
            shutil.copymode(path, temporary)
        temporary.replace(path)
    except OSError as error:
        raise WriteError(
            f"could not write {path}: {error.strerror or error}; what stood there before is "
            "untouched. Free some space or choose another folder."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # renamed already, or its folder does not exist
            temporary.unlink()


def is_special(path: Path) -> bool:
    """Say whether a device, a pipe or a socket stands there, which no file may replace."""
    return os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        WriteError: if it could not be written.
    """
    write_whole(path, lambda temporary: temporary.write_bytes(content))


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write ``content`` as readable JSON, whole or not at all; NaN and infinity are refused.

    Raises:
        WriteError: if the file could not be written.
        ValueError: if a number is NaN or infinite.
    """
    write_bytes(path, f"{json.dumps(content, indent=2, allow_nan=False)}\n".encode())


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors as safetensors with a checksum of the whole file, whole or not at all.

    Raises:
        WriteError: if the file could not be written.
    """
    from safetensors.torch import save  # loads on use

    # Not save_file: the file it makes can be read by its owner alone. One key: safetensors keeps no
    # order of several, and the same content should give the same file.
    contiguous = {name: one.cpu().contiguous() for name, one in tensors.items()}
    content = save(contiguous, {_KEY: json.dumps({"checksum": _BLANK, **metadata})})
    write_bytes(path, content.replace(_BLANK.encode(), _sha256(content).encode(), 1))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the metadata that `write_tensors` wrote.

    Files of earlier versions, without a checksum, are read too.

    Raises:
        DataError: if the file is unreadable, truncated, or not as it was written.
    """
    from safetensors import SafetensorError  # loads on use
    from safetensors.torch import load

    try:
        content = path.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        metadata: dict[str, str] = json.loads(content[8:start])["__metadata__"]
        tensors = load(content)
        if _KEY not in metadata:
            return tensors, metadata
        metadata = json.loads(metadata[_KEY])
        said = metadata.pop("checksum")
        right = _sha256(content.replace(said.encode(), _BLANK.encode(), 1)) == said
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path} is unreadable ({error}).") from error
    if not right:
        raise DataError(f"{path} is damaged: its checksum differs from what was written.")
    return tensors, metadata


def check_folder(path: Path) -> None:
    """Refuse a folder that could not be made or written, before anything that takes long.

    Raises:
        WriteError: if it, or what it lies in, is a file or may not be written.
    """
    there = next(one for one in (path, *path.absolute().parents) if os.path.lexists(one))
    if not os.path.isdir(there):
        raise WriteError(
            f"could not make the folder {path}: {there} is a file; choose another one."
        )
    if not os.access(there, os.W_OK):
        raise WriteError(f"you may not write in {there}, got {path}; choose another folder.")


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        WriteError: if that is not possible.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(
            f"could not make the folder {path}: {error.strerror}; choose another one."
        ) from error


def _short(name: str) -> str:
    """Return a name that can be made longer: file systems allow for 255 bytes."""
    return name if len(os.fsencode(name)) <= _ROOM else name[: _ROOM // 4]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
