"""`Frame`: a table of any kind, whose columns are read as numbers, days or labels."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from dfl.errors import DataError, InvalidValueError

__all__ = ["Column", "Factor", "Frame", "Kind", "label_text"]

Kind: TypeAlias = Literal["number", "text", "time", "none", "other"]
"""What a column holds; truth values and decimals are numbers, ``none`` has no value at all."""

# narwhals and pyarrow take a while to import, and nobody needs them before a table is read: they
# are imported where it is.
_CANNOT = (ValueError, TypeError, OverflowError, NotImplementedError)  # what Arrow raises
_NO_NUMBER = frozenset({"NA", "N/A", "n/a", "NaN", "nan", "NULL", "null"})
_NUMBER = re.compile(r"-?\d+(\.\d*)?", re.ASCII)
_PER_DAY = {"s": 86_400, "ms": 86_400e3, "us": 86_400e6, "ns": 86_400e9}
_EXACT = 2**53  # up to here float64 holds every whole number


@final
@dataclass(frozen=True, eq=False)
class Factor:
    """A column as labels.

    Args:
        codes: place of each row's label in ``labels``, -1 where the value is missing, int64.
        labels: every label once, as text: in numeric order where they are numbers, else in
            that of the alphabet. Whole numbers have no decimals: 1, 1.0 and ``Decimal(1)``
            are all ``"1"``.
        numeric: whether the labels are numbers.
    """

    codes: NDArray[np.int64]
    labels: tuple[str, ...]
    numeric: bool

    def places_in(self, labels: Sequence[str]) -> NDArray[np.int64]:
        """Return the place of each row's label in ``labels``; -1 where it is not among them."""
        place = {label: index for index, label in enumerate(labels)}
        return np.array([*(place.get(one, -1) for one in self.labels), -1], np.int64)[self.codes]

    def of_numbers(self) -> "Factor":
        """Return labels of text as a column of numbers would hold them: 007 is 7, NA is missing."""
        texts = [_number_text(one) for one in self.labels]
        labels = tuple(dict.fromkeys(one for one in texts if one is not None))
        place = {text: index for index, text in enumerate(labels)}
        codes = np.array([*(-1 if one is None else place[one] for one in texts), -1], np.int64)
        return Factor(codes[self.codes], labels, self.numeric)


@final
@dataclass(frozen=True, eq=False)
class Column:
    """One column of a table.

    Args:
        name: of the column.
        values: as an Arrow array.
        kind: what it holds.
    """

    name: str
    values: Any
    kind: Kind

    @property
    def is_text(self) -> bool:
        """Whether the values are text, and not, say, numbers that a frame holds as categories."""
        return self.kind == "text" and "string" in str(self.values.type)

    @property
    def holds_words(self) -> bool:
        """Whether the values are text, and not only words such as NA."""
        return self.is_text and not _NO_NUMBER.issuperset(self.factor().labels)

    def numbers(self) -> NDArray[np.float64]:
        """Return the numbers, NaN where one is missing. Shape ``(N,)``.

        A column of nothing but words such as NA misses all of them.

        Raises:
            DataError: if the column holds anything but numbers, or whole numbers that float64
                cannot tell apart.
        """
        if self.kind == "text" and _NO_NUMBER.issuperset(self.factor().labels):
            return np.full(len(self.values), np.nan)
        if self.kind not in ("number", "none"):
            raise DataError(f"column {self.name!r} must hold numbers, got {self._example()}.")
        if self._whole_beyond_floats():
            raise DataError(
                f"column {self.name!r} holds whole numbers above 2**53, which floats cannot tell "
                "apart; leave it out of features, or give amounts in a larger unit."
            )
        found = self.values.cast("float64", safe=False)
        return np.array(found.to_numpy(zero_copy_only=False), dtype=np.float64)

    def days(self) -> NDArray[np.float64]:
        """Return dates and times as days since 1970-01-01, durations as days; NaN is missing.

        Raises:
            DataError: if the column holds no dates.
        """
        if self.kind not in ("time", "none"):
            raise DataError(
                f"column {self.name!r} must hold dates, got {self._example()}; text is read as a "
                "date where it stands as 2024-01-31 in a CSV file, or convert it first."
            )
        if str(self.values.type).startswith("date32"):
            whole, per_day = self.values.cast("int32"), 1.0
        else:
            whole = self.values.cast("int64")
            per_day = _PER_DAY[getattr(self.values.type, "unit", "ms")]
        return np.array(whole.to_numpy(zero_copy_only=False), dtype=np.float64) / per_day

    def factor(self) -> Factor:
        """Return the column as labels.

        Raises:
            DataError: if it holds neither numbers, text nor dates.
        """
        from pyarrow import types

        if self.kind == "other":
            raise DataError(f"column {self.name!r} must hold labels, got {self._example()}.")
        values = self.values.cast("string") if self.kind == "time" else self.values
        encoded = values.dictionary_encode()
        known = _as_written(encoded.dictionary)
        if self.is_text or types.is_integer(values.type):  # quicker, where households are many
            texts: list[Any] = [*map(str, known)]
        else:
            texts = [label_text(value) for value in known]
        there = [index for index, text in enumerate(texts) if text is not None]
        there.sort(key=(known if self.kind == "number" else texts).__getitem__)
        labels = tuple(dict.fromkeys(texts[index] for index in there))
        place = {None: -1, **{text: index for index, text in enumerate(labels)}}
        ranks = np.array([*map(place.__getitem__, texts), -1], np.int64)
        codes = encoded.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)
        return Factor(ranks[codes], labels, self.kind == "number")

    def known_factor(self) -> Factor:
        """Return the column as labels, none of them missing.

        Raises:
            InvalidValueError: if one is missing.
            DataError: as `factor`.
        """
        factor = self.factor()
        missing = factor.codes < 0
        if missing.any():
            raise InvalidValueError(
                f"column {self.name!r} must be known in every row, it is missing in "
                f"{int(missing.sum())} of {len(missing)}, first in row {int(missing.argmax())}; "
                "leave those rows out."
            )
        return factor

    @property
    def is_exact(self) -> bool:
        """Whether the values are whole numbers by their type, of any size."""
        from pyarrow import types

        held = self.values.type
        return bool(types.is_integer(held) or (types.is_decimal(held) and held.scale == 0))

    def _whole_beyond_floats(self) -> bool:
        from pyarrow import compute

        if not self.is_exact:
            return False
        ends = compute.min_max(self.values).as_py()
        return ends["min"] is not None and not -_EXACT <= ends["min"] <= ends["max"] <= _EXACT

    def _example(self) -> str:
        """Return the type, and the first value that is there."""
        known = (f", first {one.as_py()!r}" for one in self.values if one.is_valid)
        first = next(known, "")  # drop_null does not know every type
        return f"{self.values.type}{first[:80]}"


@final
@dataclass(frozen=True, eq=False)
class Frame:
    """A table of any kind that narwhals reads: pandas, polars, Arrow and others.

    Args:
        table: the narwhals frame; `Frame.of` makes it.
    """

    table: Any

    @staticmethod
    def of(table: object) -> "Frame":
        """Take a table as it is; nothing is copied.

        Args:
            table: a frame in memory, or a `Frame`.

        Raises:
            DataError: if it is no table in memory, or a column's name is no text or comes
                twice.
        """
        if isinstance(table, Frame):
            return table
        import narwhals.stable.v2 as nw

        try:
            found = nw.from_native(table, eager_only=True)  # type: ignore[call-overload]  # any object is tried
        except TypeError as error:
            raise DataError(
                "a table must be a frame in memory (pandas, polars, Arrow, ...), got "
                f"{type(table).__name__}; collect or convert it first."
            ) from error
        except nw.exceptions.DuplicateError as error:
            twice = ", ".join(re.findall(r"^- (.*) \d+ times$", str(error), flags=re.MULTILINE))
            raise DataError(
                f"a table must name every column once, {twice} comes more than once; rename one."
            ) from error
        # polars aborts where it hands over a column whose name holds a NUL.
        fatal = found.implementation.is_polars()
        odd = [one for one in found.columns if not isinstance(one, str) or (fatal and "\0" in one)]
        if odd:
            raise DataError(f"the names of columns must be text, got {odd}; rename them.")
        return Frame(found)

    @staticmethod
    def concat(frames: Iterable["Frame"]) -> "Frame":
        """Put frames with the same columns end to end; categories of text are text.

        Raises:
            DataError: if the values of a column are of different kinds.
        """
        import pyarrow as pa

        given = [*frames]
        if len(given) == 1:
            return given[0]
        tables = [_without_categories(frame.table.to_arrow()) for frame in given]
        try:
            return Frame.of(pa.concat_tables(tables, promote_options="permissive"))
        except pa.ArrowException as error:
            raise DataError(
                f"the columns of the tables do not fit together ({error}); write each column with "
                "one type in all of them."
            ) from error

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each column, in order."""
        return tuple(self.table.columns)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.table)

    def select(self, names: Sequence[str]) -> "Frame":
        """Return some of the columns.

        Raises:
            DataError: names all that are not there.
        """
        self.require(names)
        return Frame(self.table.select(list(dict.fromkeys(names))))

    def require(self, names: Iterable[str]) -> None:
        """Check that columns are there.

        Raises:
            DataError: names all that are not.
        """
        missing = [name for name in dict.fromkeys(names) if name not in self.table.columns]
        if missing:
            raise DataError(
                f"the table must have the columns {missing}, it has {list(self.table.columns)}."
            )

    def column(self, name: str) -> Column:
        """Return one column.

        Raises:
            DataError: if it is not there, holds values of several kinds, or is sparse.
        """
        import pyarrow as pa

        self.require([name])
        try:
            values = self.table[name].to_arrow()
        except _CANNOT as error:
            if "Sparse" in str(getattr(self.table[name].to_native(), "dtype", "")):
                raise DataError(
                    f"column {name!r} must be dense, got a sparse one of pandas; convert it by "
                    ".sparse.to_dense()."
                ) from error
            raise DataError(
                f"column {name!r} must hold values of one kind, numbers, text or dates ({error})."
            ) from error
        values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        coded = pa.types.is_dictionary(values.type)
        values = values.dictionary_decode() if coded else values
        kind = _kind(values.type)
        return Column(name, values, "text" if coded and kind != "other" else kind)


def _without_categories(table: Any) -> Any:
    """Return an Arrow table with its categories of text as text, which others may hold as text."""
    from pyarrow import types

    for place, field in enumerate(table.schema):
        if types.is_dictionary(field.type) and _kind(field.type.value_type) == "text":
            text = table.column(place).cast(field.type.value_type)
            table = table.set_column(place, field.name, text)
    return table


def _kind(held: Any) -> Kind:
    from pyarrow import types

    if types.is_null(held):
        return "none"
    if types.is_integer(held) or types.is_floating(held):
        return "number"
    if types.is_boolean(held) or types.is_decimal(held):
        return "number"
    if types.is_string(held) or types.is_large_string(held) or types.is_string_view(held):
        return "text"
    if types.is_date(held) or types.is_timestamp(held) or types.is_duration(held):
        return "time"
    return "other"


def _as_written(values: Any) -> list[Any]:
    """Return Arrow values as Python's: a .1 in float32 is .1, not the float64 of the same value."""
    known: list[Any] = values.to_pylist()
    short = {"float": np.float32, "halffloat": np.float16}.get(str(values.type))
    if short is None:
        return known
    return [one if one is None or one.is_integer() else float(str(short(one))) for one in known]


def label_text(value: Any) -> str | None:
    """Return a label as text: whole numbers without decimals; nothing where it is missing."""
    if value is None or value != value:
        return None
    if isinstance(value, float | Decimal) and abs(float(value)) <= _EXACT and value == int(value):
        return str(int(value))
    if not isinstance(value, Decimal):
        return str(value)
    text = f"{value:f}"  # normalize() would round after 28 digits
    return text.rstrip("0").rstrip(".") if "." in text else text


def _number_text(text: str) -> str | None:
    """Return a label as it would be if its column held numbers; nothing where it is missing."""
    text = text.strip()
    if text in _NO_NUMBER:
        return None
    return label_text(Decimal(text)) if _NUMBER.fullmatch(text) else text
