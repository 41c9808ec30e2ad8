"""Files that are written whole or not at all."""

import contextlib
import json
import os
import re
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from dfl.errors import WriteError

__all__ = ["UNFINISHED", "write_bytes", "write_json", "write_tensors", "write_whole"]

UNFINISHED = re.compile(r"\..+\.[0-9a-f]{32}\.part")
"""Names of files that `write_whole` had not put into place when its process was killed."""


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name in the same folder, then rename it into place.

    Args:
        path: where the file shall stand; an old file there is replaced at once.
        write: writes to the path it is given.

    Raises:
        WriteError: if anything fails (disk full, folder missing, no permission); the
            temporary file is removed and an old file at ``path`` is untouched.
    """
    # Not tempfile.mkstemp: its files can be read by their owner alone, and stay so when renamed.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise WriteError(
            f"could not write {path}: {error.strerror or error}; what stood there before is "
            "untouched. Free some space or choose another folder."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # renamed already, or its folder does not exist
            temporary.unlink()


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
    """Write tensors as safetensors, whole or not at all.

    Raises:
        WriteError: if the file could not be written.
    """
    # Not save_file: the file it makes can be read by its owner alone.
    write_bytes(path, save({name: one.contiguous() for name, one in tensors.items()}, metadata))
