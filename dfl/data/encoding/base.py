"""`AbstractFeatureColumn`: one column of a table and how it becomes features."""

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dfl.errors import InvalidValueError
from dfl.frames import Column

__all__ = ["AbstractFeatureColumn", "DataWarning", "refuse_missing"]


@final
class DataWarning(UserWarning):
    """Rows are used in a way that was asked for, but that one may not have foreseen."""


@dataclass(frozen=True)
class AbstractFeatureColumn(ABC):
    """One column of a table and how it becomes features.

    Args:
        name: column of the table.
    """

    name: str

    @property
    @abstractmethod
    def feature_names(self) -> tuple[str, ...]:
        """Name of each feature, in order."""

    @abstractmethod
    def encode(self, column: Column) -> NDArray[Any]:
        """Return the features, finite in float32, shape ``(N, len(feature_names))``.

        Raises:
            DataError: if the column holds values of another kind.
            InvalidValueError: if a value is missing, infinite or unknown, where that was not
                allowed.

        Warns:
            DataWarning: if such a value is used all the same, because that was asked for.
        """

    def warn(self, what: str) -> None:
        """Warn about this column."""
        warnings.warn(f"column {self.name!r} {what}", DataWarning, stacklevel=2)


def refuse_missing(name: str, missing: NDArray[np.bool_]) -> None:
    """Refuse a column in which a value is missing.

    Raises:
        InvalidValueError: says how many, and the first row.
    """
    if missing.any():
        raise InvalidValueError(
            f"column {name!r} must have no missing value, got {int(missing.sum())}, first in row "
            f"{int(missing.argmax())}; drop or fill these rows, or read the table that trains with "
            "missing='impute'; before BudgetedPolicy, put a SimpleImputer."
        )
