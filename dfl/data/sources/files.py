"""Where data files are looked for."""

import os
from collections.abc import Sequence
from pathlib import Path

from dfl.errors import DataNotFoundError

__all__ = ["find_file"]


def find_file(path: Path | str | None, names: Sequence[str] = (), *, where: str = "") -> Path:
    """Return the first place where a file is.

    A path is tried as it stands, then inside the folder that the environment variable
    ``DFL_DATA`` names; a folder is searched for ``names``. Without a path, ``names`` are
    looked for in ``DFL_DATA``.

    Args:
        path: a file, a folder, or None.
        names: usual names of the file, the preferred one first.
        where: where to get the file, for the error.

    Raises:
        DataNotFoundError: if it is in none of these places; lists them.
    """
    tried = _candidates(path, names)
    for candidate in tried:
        if candidate.is_file():
            return candidate
    looked = "; looked for " + ", ".join(map(str, tried)) if tried else ""
    hint = "" if os.environ.get("DFL_DATA") else " DFL_DATA, the data folder, is not set."
    source = f" Get it from {where}." if where else ""
    raise DataNotFoundError(
        f"no data file {path if path is not None else ' or '.join(names)}{looked}.{hint}{source} "
        "Give its path, or put it into the folder that DFL_DATA names."
    )


def _candidates(path: Path | str | None, names: Sequence[str]) -> list[Path]:
    folder = os.environ.get("DFL_DATA")
    if path is None:
        return [Path(folder) / name for name in names] if folder else []
    places = [Path(path).expanduser()]
    if folder and not places[0].is_absolute():
        places.append(Path(folder) / places[0])
    return [
        candidate
        for place in places
        for candidate in ([place / name for name in names] if place.is_dir() else [place])
    ]
