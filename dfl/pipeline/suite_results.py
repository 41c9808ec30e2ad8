"""`SuiteResults`: the rows of a suite in one Parquet file, whole after every addition."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias, final

import pyarrow as pa
import pyarrow.parquet as pq

from dfl.config import read_study, to_yaml
from dfl.errors import DataError, DflError, RunFolderError
from dfl.io import write_whole

__all__ = ["RESULTS", "Row", "SuiteResults"]

RESULTS = "results.parquet"

Row: TypeAlias = Mapping[str, Any]
"""One method on one data set with one seed: names to numbers, texts or None."""

_KEY = b"dfl.suite"
_CELL = ("data", "method", "seed")
_CONFIG = "config"
_TEXTS = {"data", "method", "failed", "last_epoch"}
_COUNTS = {f"{part}_rows" for part in ("rct", "obs", "validation", "test")} | {
    "seed",
    "features",
    "treatments",
    "seeds_at_once",
    "epochs",
    "members",
}
_KINDS = {"data": str, "method": str, "seed": int, _CONFIG: str}  # of what every row has


@final
@dataclass(frozen=True, eq=False)
class SuiteResults:
    """What a suite has measured so far, and what it is.

    The file is small (a row per training), so that it is written anew after every addition,
    whole or not at all. Its metadata hold the suite's configuration and each row the
    configuration that made it: the file says everything that a table of it needs.

    Args:
        path: of the file.
        config: of the suite, plain data.
        rows: one per data set, method and seed.
    """

    path: Path
    config: Mapping[str, Any]
    rows: Sequence[Row] = ()

    @staticmethod
    def read(path: Path | str) -> "SuiteResults":
        """Read the file.

        Raises:
            RunFolderError: if there is none.
            DataError: if it is damaged, or not a suite's; names the row that is not.
        """
        path = Path(path)
        if not path.is_file():
            raise RunFolderError(f"{path.parent} holds no suite: it has no {path.name}.")
        try:
            table = pq.read_table(path, page_checksum_verification=True)
            config = json.loads(table.schema.metadata[_KEY])
            rows = table.to_pylist()
        except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
            raise DataError(f"{path} is unreadable, or no suite's ({error}).") from error
        if not isinstance(config, dict) or not set(_CELL) <= set(table.column_names):
            raise DataError(f"{path} is unreadable, or no suite's.")
        for number, row in enumerate(rows):
            _check(row, f"{path} is no suite's: its row {number}")
        return SuiteResults(path, config, rows)

    def write(self) -> "SuiteResults":
        """Write the file, whole or not at all, and return the results.

        Raises:
            WriteError: if it could not be written; what stood there is untouched.
        """
        names = dict.fromkeys([*_CELL, *(name for row in self.rows for name in row)])
        columns = {name: _column(name, [row.get(name) for row in self.rows]) for name in names}
        table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(self.config)})
        write_whole(self.path, lambda to: pq.write_table(table, to, write_page_checksum=True))
        return self

    def with_rows(self, rows: Iterable[Row]) -> "SuiteResults":
        """Return the results with more rows, in order of data set, method and seed."""
        found = {self._cell(row): row for row in (*self.rows, *rows)}
        return SuiteResults(self.path, self.config, [found[cell] for cell in sorted(found)])

    def missing(self, data: str, method: str, seeds: Iterable[int]) -> list[int]:
        """Return the seeds that are not measured yet."""
        done = {row["seed"] for row in self.rows if (row["data"], row["method"]) == (data, method)}
        return [seed for seed in seeds if seed not in done]

    def check_made_by(self, studies: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
        """Refuse rows that another configuration made.

        An option that a row's configuration does not know, because it was made before there was
        one, counts as its default.

        Args:
            studies: labels of data set and method to the configuration they have now.

        Raises:
            RunFolderError: at the first row, naming the first option that differs.
        """
        for row in self.rows:
            data, method, _ = self._cell(row)
            now = studies.get((data, method))
            if now is None:
                continue
            then = _spelt_out(row[_CONFIG])
            if change := _first_change(then, json.loads(json.dumps(now))):
                raise RunFolderError(
                    f"{self.path} holds {method} on {data} with other settings ({change}); choose "
                    "another folder, or take back the change."
                )

    @property
    def config_text(self) -> str:
        """The configuration of the suite as YAML."""
        return to_yaml(self.config)

    @staticmethod
    def _cell(row: Row) -> tuple[str, str, int]:
        return (row["data"], row["method"], row["seed"])


def _column(name: str, values: Sequence[Any]) -> pa.Array:
    """Return a column; where nothing is known it has its type, so that files can be joined."""
    if any(value is not None for value in values):
        return pa.array(values)
    if name in _TEXTS:
        return pa.array(values, pa.string())
    return pa.array(values, pa.int64() if name in _COUNTS else pa.float64())


def _check(row: Row, which: str) -> None:
    """Refuse a row that does not say what was trained, and how."""
    for name, kind in _KINDS.items():
        if not isinstance(row.get(name), kind):
            words = "a whole number" if kind is int else "text"
            raise DataError(f"{which} must have {words} as {name}, got {row.get(name)!r}.")
    if not _is_object(row[_CONFIG]):
        raise DataError(f"{which} must have a JSON object as config, got {row[_CONFIG][:60]!r}.")


@cache
def _is_object(config: str) -> bool:
    try:
        return isinstance(json.loads(config), dict)
    except ValueError:
        return False


@cache
def _spelt_out(config: str) -> Any:
    """Return a row's configuration with every option of today."""
    then = json.loads(config)
    try:
        return json.loads(json.dumps(read_study(then).config))
    except DflError:  # an option is gone, or has another type: say which
        return then


def _first_change(then: Any, now: Any, where: str = "") -> str | None:
    """Say which option differs first, and how."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*then, *now]):
            place = f"{where}.{key}" if where else key
            if change := _first_change(then.get(key), now.get(key), place):
                return change
        return None
    return None if then == now else f"{where} was {then!r}, is now {now!r}"
