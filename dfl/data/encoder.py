"""`FeatureEncoder`: turns the columns of a table into the features a model was trained on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfl.errors import DataError, InvalidValueError

if TYPE_CHECKING:
    from pandas import DataFrame, Series

__all__ = ["FeatureColumn", "FeatureEncoder"]

_MOST_CATEGORIES = 100  # above this a text column is an identifier, not a feature


@final
@dataclass(frozen=True)
class FeatureColumn:
    """One column of the table and how it becomes features.

    Args:
        name: column of the table.
        categories: for text, each value that gets a 0/1 feature of its own; None for a
            number, which stays one feature.
    """

    name: str
    categories: tuple[str, ...] | None = None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """``name`` for a number, ``name=category`` for each category of a text column."""
        if self.categories is None:
            return (self.name,)
        return tuple(f"{self.name}={category}" for category in self.categories)


@final
@dataclass(frozen=True)
class FeatureEncoder:
    """Encodes tables: numbers stay, text becomes one 0/1 feature per category.

    Made once from the training table with `fit`; afterwards the same columns of any other
    table (tomorrow's customers, say) give the same features in the same order.

    Args:
        columns: the columns, in the order of the features.
    """

    columns: tuple[FeatureColumn, ...]

    @staticmethod
    def fit(
        table: "DataFrame", columns: Iterable[str], *, categorical: Iterable[str] = ()
    ) -> "FeatureEncoder":
        """Learn which categories each text column has.

        Args:
            table: the training rows.
            columns: feature columns, in the order wanted.
            categorical: columns of whole numbers that are codes, not amounts; encoded as
                text is.

        Raises:
            DataError: if a column is missing, holds neither numbers nor text, or has more
                than 100 categories.
            InvalidValueError: if a value is missing.
        """
        names, codes = tuple(columns), frozenset(categorical)
        _check_present(table, (*names, *codes))
        fitted = []
        for name in names:
            column = table[name]
            if _is_number(column) and name not in codes:
                fitted.append(FeatureColumn(name))
                continue
            categories = tuple(sorted(set(_text(column))))
            if len(categories) > _MOST_CATEGORIES:
                raise DataError(
                    f"column {name!r} has {len(categories):,} categories, at most "
                    f"{_MOST_CATEGORIES} are encoded; leave it out of features, or group its "
                    "values."
                )
            fitted.append(FeatureColumn(name, categories))
        return FeatureEncoder(tuple(fitted))

    @staticmethod
    def numeric(names: Iterable[str]) -> "FeatureEncoder":
        """Return the encoder of columns that are all numbers."""
        return FeatureEncoder(tuple(FeatureColumn(name) for name in names))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Name of each feature, in order."""
        return tuple(name for column in self.columns for name in column.feature_names)

    def encode(self, table: "DataFrame") -> Tensor:
        """Return the features of every row of a table; other columns are ignored.

        Args:
            table: rows with at least the columns of this encoder.

        Returns:
            float32, finite. Shape ``(N, len(feature_names))``.

        Raises:
            DataError: if a column is missing or has the wrong kind.
            InvalidValueError: if a value is missing, infinite, or a category that was not
                there when the encoder was made.
        """
        _check_present(table, tuple(column.name for column in self.columns))
        features = np.empty((len(table), len(self.feature_names)), dtype=np.float32)
        start = 0
        for column in self.columns:
            stop = start + len(column.feature_names)
            if column.categories is None:
                features[:, start] = _numbers(table[column.name])
            else:
                features[:, start:stop] = _one_hot(table[column.name], column.categories)
            start = stop
        return torch.from_numpy(features)

    def to_dict(self) -> dict[str, Any]:
        """Return the encoder as JSON can hold it."""
        return {
            "columns": [
                {
                    "name": column.name,
                    "categories": None if column.categories is None else list(column.categories),
                }
                for column in self.columns
            ]
        }

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> "FeatureEncoder":
        """Return the encoder that `to_dict` wrote.

        Raises:
            DataError: if ``content`` was not written by `to_dict`.
        """
        try:
            columns = tuple(
                FeatureColumn(
                    str(entry["name"]),
                    None if entry["categories"] is None else tuple(entry["categories"]),
                )
                for entry in content["columns"]
            )
        except (KeyError, TypeError) as error:
            raise DataError(
                "a feature encoder must be {'columns': [{'name', 'categories'}, ...]} as "
                f"to_dict writes it, got {content!r}."
            ) from error
        return FeatureEncoder(columns)


def _check_present(table: "DataFrame", names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise DataError(
            f"the table must have the feature columns {missing}, it has {list(table.columns)}."
        )


def _is_number(column: "Series[Any]") -> bool:
    return column.dtype.kind in "biuf"


def _check_complete(column: "Series[Any]") -> None:
    missing = column.isna().to_numpy()
    if missing.any():
        raise InvalidValueError(
            f"column {column.name!r} must have no missing value, got {int(missing.sum())}, first "
            f"in row {int(missing.argmax())}; drop or fill these rows before loading."
        )


def _numbers(column: "Series[Any]") -> NDArray[np.float32]:
    if not _is_number(column):
        raise DataError(f"column {column.name!r} must hold numbers, got {column.dtype}.")
    _check_complete(column)
    with np.errstate(over="ignore"):  # what overflows is refused below
        numbers = column.to_numpy(dtype=np.float64).astype(np.float32)
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        raise InvalidValueError(
            f"column {column.name!r} must be finite in float32, got "
            f"{column.iloc[int(wrong.argmax())]} in row {int(wrong.argmax())}."
        )
    return numbers


def _text(column: "Series[Any]") -> "Series[str]":
    """Return the values as text; whole numbers and booleans are codes and pass."""
    if column.dtype.kind in "fcmM":
        raise DataError(
            f"column {column.name!r} must hold text or whole numbers to be encoded by category, "
            f"got {column.dtype}."
        )
    _check_complete(column)
    return column.astype(str)


def _one_hot(column: "Series[Any]", categories: tuple[str, ...]) -> NDArray[np.float32]:
    text = _text(column)
    position = {category: place for place, category in enumerate(categories)}
    places = text.map(position).to_numpy(dtype=np.float64, na_value=np.nan)
    unseen = np.isnan(places)
    if unseen.any():
        row = int(unseen.argmax())
        raise InvalidValueError(
            f"column {column.name!r} must hold one of {list(categories)}, got "
            f"{text.iloc[row]!r} in row {row}; it did not occur in the training rows."
        )
    return np.eye(len(categories), dtype=np.float32)[places.astype(np.int64)]
