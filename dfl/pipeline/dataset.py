"""`DataSet`: Parquet files that together are one table, cut into blocks that fit in memory."""

import fnmatch
import glob
import os
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

import pyarrow as pa
import pyarrow.parquet as pq

from dfl.errors import DataError, DataNotFoundError, InvalidValueError
from dfl.pipeline.customers import check_columns

__all__ = ["DataBlock", "DataSet"]

_ROWS = 1 << 20  # of a block, unless one row group has more
_SMALL = 1 << 15  # rows up to which a block goes on in the next file: each block has a fixed cost


class Piece(NamedTuple):
    """Row groups of one file: its place among the files, groups ``first`` to below ``behind``."""

    file: int
    first: int
    behind: int
    rows: int


@final
@dataclass(frozen=True)
class DataBlock:
    """Row groups that are read together, of one file or of several small ones in order.

    Args:
        pieces: of each file.
        start: number of the first row, counted over all files.
    """

    pieces: tuple[Piece, ...]
    start: int

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(piece.rows for piece in self.pieces)

    def apart(self) -> "Iterator[DataBlock]":
        """Yield the same rows, a block for each file."""
        start = self.start
        for piece in self.pieces:
            yield DataBlock((piece,), start)
            start += piece.rows


@final
@dataclass(frozen=True, eq=False)
class DataSet:
    """A table in Parquet files, in the order of their names.

    Args:
        files: the files.
        blocks: every row once, in order; none spans files of which one has other types.
        schema: of the first file; the others have the columns that are read, of the same types.
        place: file, folder or pattern that they were found by.
        stats: size in bytes, and time of change in nanoseconds, of each file when it was found.
        mixed: columns that files hold by several types.
    """

    files: tuple[Path, ...]
    blocks: tuple[DataBlock, ...]
    schema: pa.Schema
    place: Path
    stats: tuple[tuple[int, int], ...]
    mixed: frozenset[str]

    @staticmethod
    def of(path: Path, columns: Sequence[str], keep: Sequence[str]) -> "DataSet":
        """Find the files and look into them; no row is read.

        Args:
            path: a Parquet file, a folder that is searched with those below it for files
                ``*.parquet``, or a pattern such as ``day-*/*.parquet``; as it stands or inside
                the folder that ``DFL_DATA`` names. Names that begin with ``_`` or ``.`` do not
                count. Links are followed; a file that several names lead to is read once.
            columns: that will be read.
            keep: that will be carried over.

        Raises:
            DataNotFoundError: if there is no such file.
            DataError: if a file or folder is unreadable, or a file lacks a column or has one of
                another type.
        """
        place, files = _found(path)
        pieces: list[Piece] = []
        stats: list[tuple[int, int]] = []
        mixed: set[str] = set()
        alike = [0]  # the first file of each run of files with the same fields
        schema = last = None
        for number, file in enumerate(files):
            try:
                stats.append(_stat(file))
                with pq.ParquetFile(file) as opened:
                    metadata, own = opened.metadata, opened.schema_arrow
                    sizes = [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
            except (pa.ArrowException, OSError) as error:
                raise DataError(f"{file} is not a readable Parquet file ({error}).") from error
            check_columns(file, own.names, columns, keep)
            schema = own if schema is None else schema
            for name in keep:
                if own.field(name).type != schema.field(name).type:
                    raise DataError(
                        f"column {name!r} must have one type in all files, got "
                        f"{schema.field(name).type} in {files[0]} and {own.field(name).type} in "
                        f"{file}."
                    )
            mixed |= {one for one in columns if own.field(one).type != schema.field(one).type}
            fields = [own.field(name) for name in (*columns, *keep)]
            if last not in (None, fields):
                alike.append(number)
            last = fields
            first = 0
            while first < len(sizes):
                behind, rows = first + 1, sizes[first]
                while behind < len(sizes) and rows + sizes[behind] <= _ROWS:
                    rows += sizes[behind]
                    behind += 1
                pieces.append(Piece(number, first, behind, rows))
                first = behind
        blocks = _joined(pieces, alike)
        return DataSet(files, blocks, schema, place, tuple(stats), frozenset(mixed))

    @property
    def rows(self) -> int:
        """Number of rows of all files."""
        return sum(block.rows for block in self.blocks)

    def read(self, block: DataBlock, columns: Sequence[str]) -> pa.Table:
        """Return some columns of a block.

        Raises:
            DataError: if the file cannot be read, or is not what it was when it was found.
        """
        if not columns:
            return pa.table({})
        return pa.concat_tables([self._read(one, columns) for one in block.apart()])

    def _read(self, block: DataBlock, columns: Sequence[str]) -> pa.Table:
        """Return some columns of a block of one file."""
        ((number, first, behind, _),) = block.pieces
        path = self.files[number]
        try:
            with pq.ParquetFile(path) as file:
                table = file.read_row_groups(range(first, behind), columns=list(columns))
            same = _stat(path) == self.stats[number]
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.where(block)} cannot be read ({error}).") from error
        if not same:
            raise DataError(
                f"{path} changed after it was first looked at; start again when nobody writes it."
            )
        return table.select(columns).replace_schema_metadata(None)

    def where(self, block: DataBlock) -> str:
        """Return a block's place, for errors."""
        number, first, behind, _ = block.pieces[0]
        if len(block.pieces) > 1:
            return f"{self.files[number]} to {self.files[block.pieces[-1].file]}"
        return f"{self.files[number]}, row groups {first} to {behind - 1}"

    def fingerprint(self) -> list[list[object]]:
        """Return what tells these files from others: name, size and time of change."""
        both = zip(self.files, self.stats, strict=True)
        return [[str(file.resolve()), *stat] for file, stat in both]

    def check_outside(self, file: Path) -> None:
        """Refuse to write a file that would be one of these when they are looked for again.

        Args:
            file: its folder need not be there.

        Raises:
            InvalidValueError: if it would.
        """
        if _would_find(self.place, file.resolve()):
            raise InvalidValueError(
                f"output {file} would be read as customers at the next start with {self.place}; "
                "choose a place outside."
            )


def _joined(pieces: Sequence[Piece], alike: Sequence[int]) -> tuple[DataBlock, ...]:
    """Return blocks of pieces, in which small files stand together.

    Args:
        pieces: as of a block, of one file each.
        alike: first file of each run of files with the same fields, in order.
    """
    together: list[list[Piece]] = []
    rows = run = -1
    for piece in pieces:
        before, run = run, bisect(alike, piece.file)
        if run == before and rows + piece.rows <= _SMALL:
            together[-1].append(piece)
            rows += piece.rows
        else:
            together.append([piece])
            rows = piece.rows
    blocks, start = [], 0
    for own in together:
        blocks.append(DataBlock(tuple(own), start))
        start += blocks[-1].rows
    return tuple(blocks)


def _stat(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns


def _found(path: Path) -> tuple[Path, tuple[Path, ...]]:
    """Return the place that a path means, and the files there, by name."""
    folder = os.environ.get("DFL_DATA")
    places = [path, *([Path(folder) / path] if folder and not path.is_absolute() else [])]
    for place in places:
        if place.is_dir():
            files = [
                folder / name
                for folder, names in _walked(place)
                for name in names
                if name.endswith(".parquet") and not _hidden(name)
            ]
        elif place.is_file():
            files = [place]
        else:
            files = [Path(one) for one in glob.glob(str(place), recursive=True)]
            files = [one for one in files if one.is_file()]
        if files:
            once: dict[Path, Path] = {}
            for file in sorted(files, key=lambda one: (len(one.parts), one)):
                once.setdefault(file.resolve(), file)  # a pattern may go round in circles
            return place, tuple(sorted(once.values()))
    raise DataNotFoundError(
        f"no Parquet file at {path}; looked for {', '.join(map(str, places))}. Give a file, a "
        "folder of files *.parquet, or a pattern in quotation marks."
    )


def _walked(place: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield a folder and those below it, linked ones, too, each once and by name, with its files.

    Raises:
        DataError: if one cannot be read.
    """

    def unreadable(error: OSError) -> None:
        raise DataError(f"{error.filename} is not a readable folder ({error.strerror}).") from error

    entered = set()
    for folder, below, names in os.walk(place, onerror=unreadable, followlinks=True):
        if (real := os.path.realpath(folder)) in entered:
            below.clear()
            continue
        entered.add(real)
        below[:] = sorted(name for name in below if not _hidden(name))
        yield Path(folder), names


def _hidden(name: str) -> bool:
    return name.startswith(("_", "."))


def _would_find(place: Path, file: Path) -> bool:
    """Say whether `_found` would find a file, were it there.

    Args:
        place: that was searched.
        file: absolute, without links.
    """
    if place.is_file():
        return False
    if place.is_dir():
        folders = {folder.resolve() for folder, _ in _walked(place)}
        return file.suffix == ".parquet" and any(
            above in folders and not any(map(_hidden, file.relative_to(above).parts))
            for above in file.parents
        )
    parts = place.absolute().parts
    plain = next((k for k, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    root = map(glob.escape, Path(*parts[:plain]).resolve().parts)
    return _fits(file.parts, (*root, *parts[plain:]))


def _fits(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """Say whether `glob` takes the parts of a path for those of a pattern."""
    if not pattern or not names:
        return not names and all(part == "**" for part in pattern)
    first, *others = pattern
    if first == "**":
        below = not names[0].startswith(".") and _fits(names[1:], pattern)
        return below or _fits(names, others)
    dots = names[0].startswith(".") and not first.startswith(".")
    return not dots and fnmatch.fnmatch(names[0], first) and _fits(names[1:], others)
