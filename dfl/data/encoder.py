"""`FeatureEncoder`: turns the columns of a table into the features a model was trained on."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor

from dfl.checks import check_choice, check_several
from dfl.data.encoding.base import AbstractFeatureColumn
from dfl.data.encoding.categories import CategoryColumn
from dfl.data.encoding.hashed import HashedColumn
from dfl.data.encoding.labels import AbstractLabelColumn
from dfl.data.encoding.numbers import NumberColumn
from dfl.data.encoding.target import TargetColumn
from dfl.errors import DataError, InvalidValueError
from dfl.frames import Column, Frame

__all__ = ["Encoding", "FeatureEncoder"]

_KINDS: Mapping[str, type[AbstractFeatureColumn]] = {
    "category": CategoryColumn,
    "hashed": HashedColumn,
    "number": NumberColumn,
    "target": TargetColumn,
}
_EITHER = (*combinations(("dates", "hashed", "target"), 2), ("categorical", "dates"))


@final
@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How columns become features, where their kind does not say.

    Args:
        categorical: columns of whole numbers that are codes, not amounts.
        dates: columns of dates and times, taken as days since 1970-01-01.
        hashed: columns of many categories, hashed into 32 features.
        target: columns of many categories, each replaced by the mean revenue of its training
            rows.
        missing: ``"refuse"``, or ``"impute"``: a missing number becomes the mean, a missing
            category none of them, and a feature of its own marks both where training had any.
        unknown: ``"refuse"``, or ``"other"``: a category that training did not have counts as
            one of the rare, which have fewer than 10 rows there; as none where none was rare.

    Raises:
        InvalidValueError: if a policy is none of these words, or a column is named in two ways that
            exclude each other, or by no tuple.
    """

    categorical: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    hashed: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    missing: Literal["refuse", "impute"] = "refuse"
    unknown: Literal["refuse", "other"] = "refuse"

    def __post_init__(self) -> None:
        """Check the policies."""
        check_choice("missing", self.missing, ("refuse", "impute"))
        check_choice("unknown", self.unknown, ("refuse", "other"))
        for name in ("categorical", "dates", "hashed", "target"):
            check_several(name, getattr(self, name), str)
        for one, other in _EITHER:
            both = sorted({*getattr(self, one)} & {*getattr(self, other)})
            if both:
                raise InvalidValueError(
                    f"columns must be named in {one} or in {other}, got {both} in both."
                )

    @property
    def named(self) -> tuple[str, ...]:
        """Every column that is named."""
        return (*self.categorical, *self.dates, *self.hashed, *self.target)

    def fit(self, column: Column) -> AbstractFeatureColumn:
        """Learn how one column becomes features.

        Raises:
            DataError: if its values do not suit what was asked for.
            InvalidValueError: if nothing in it is known.
        """
        impute = self.missing == "impute"
        if column.name in self.hashed:
            return HashedColumn(column.name, impute=impute, text=column.is_text)
        if column.name in self.target:
            return TargetColumn.fit(column, impute=impute)
        if column.name in self.dates:
            return NumberColumn.fit(column, days=True, impute=impute)
        if column.kind in ("number", "none") and column.name not in self.categorical:
            return NumberColumn.fit(column, days=False, impute=impute)
        return CategoryColumn.fit(column, impute=impute, pool=self.unknown == "other")


@final
@dataclass(frozen=True)
class FeatureEncoder:
    """Encodes tables: numbers stay, text becomes one 0/1 feature per category.

    Made once from the training table with `fit`; afterwards the same columns of any other
    table (tomorrow's customers, say) give the same features in the same order.

    Args:
        columns: the columns, in the order of the features.
    """

    columns: tuple[AbstractFeatureColumn, ...]

    @staticmethod
    def fit(
        table: object, columns: Iterable[str], encoding: Encoding | None = None
    ) -> "FeatureEncoder":
        """Learn how each column becomes features.

        Args:
            table: the training rows, any frame in memory.
            columns: feature columns, in the order wanted.
            encoding: None: `Encoding`'s defaults.

        Raises:
            DataError: if columns are missing, or one holds neither numbers nor text, or more
                than 100 categories, or two features get the same name.
            InvalidValueError: if nothing in a column is known.
        """
        frame, names, how = Frame.of(table), tuple(columns), encoding or Encoding()
        frame.require((*names, *how.named))
        found = FeatureEncoder(tuple(how.fit(frame.column(name)) for name in names))
        counted = Counter(found.feature_names)
        twice = [name for name, times in counted.items() if times > 1]
        if twice:
            raise DataError(
                f"every feature must have a name of its own, got {twice} of several columns or "
                "categories; rename a column."
            )
        return found

    @staticmethod
    def numeric(names: Iterable[str]) -> "FeatureEncoder":
        """Return the encoder of columns that are all numbers."""
        return FeatureEncoder(tuple(NumberColumn(name) for name in names))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Name of each feature, in order."""
        return tuple(name for column in self.columns for name in column.feature_names)

    @property
    def text(self) -> tuple[str, ...]:
        """Columns of labels that training had as text; of a CSV file they are read as text."""
        labels = (one for one in self.columns if isinstance(one, AbstractLabelColumn))
        return tuple(dict.fromkeys(one.name for one in labels if one.text))

    def encode(self, table: object) -> Tensor:
        """Return the features of every row of a table; other columns are ignored.

        Args:
            table: any frame in memory, with at least the columns of this encoder.

        Returns:
            float32, finite. Shape ``(N, len(feature_names))``.

        Raises:
            DataError: if columns are missing or one has the wrong kind.
            InvalidValueError: if a value is missing, infinite, or a category that was not
                there when the encoder was made, and this was not allowed then.

        Warns:
            DataWarning: if it was allowed, and training met no such value.
        """
        frame = Frame.of(table)
        frame.require(column.name for column in self.columns)
        features = np.empty((len(frame), len(self.feature_names)), dtype=np.float32)
        start = 0
        for column in self.columns:
            stop = start + len(column.feature_names)
            features[:, start:stop] = column.encode(frame.column(column.name))
            start = stop
        return torch.from_numpy(features)

    def to_dict(self) -> dict[str, Any]:
        """Return the encoder as JSON can hold it."""
        kind_of = {kind: name for name, kind in _KINDS.items()}
        return {"columns": [{"kind": kind_of[type(one)], **asdict(one)} for one in self.columns]}

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> "FeatureEncoder":
        """Return the encoder that `to_dict` wrote.

        Raises:
            DataError: if ``content`` was not written by `to_dict`.
        """
        try:
            return FeatureEncoder(tuple(_column(entry) for entry in content["columns"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                "a feature encoder must be {'columns': [{'kind', 'name', ...}, ...]} as to_dict "
                f"writes it, got {content!r}."
            ) from error


def _column(entry: Mapping[str, Any]) -> AbstractFeatureColumn:
    values: dict[str, Any] = {
        key: tuple(one) if isinstance(one, list) else one for key, one in entry.items()
    }
    kind = values.pop("kind", None)
    if kind is None:  # written before there were other kinds than these two
        categories = values["categories"]
        return NumberColumn(values["name"]) if categories is None else CategoryColumn(**values)
    return _KINDS[kind](**values)
