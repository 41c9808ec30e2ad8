"""`HashedColumn`: many categories in a few features, by hashing."""

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from dfl.data.encoding.base import refuse_missing
from dfl.data.encoding.labels import AbstractLabelColumn
from dfl.frames import Column

__all__ = ["HashedColumn"]


@final
@dataclass(frozen=True)
class HashedColumn(AbstractLabelColumn):
    """Puts each category into one of a few features, with sign +1 or -1.

    Nothing is learned: a new category falls into one of the same features.

    Args:
        name: column of the table.
        text: as `AbstractLabelColumn`.
        buckets: number of features, >= 1.
        impute: whether values may be missing; they are then a category.

    Source:
        Weinberger et al. (2009), arXiv:0902.2206, as `sklearn.feature_extraction.FeatureHasher`.
    """

    buckets: int = 32
    impute: bool = False

    @property
    def feature_names(self) -> tuple[str, ...]:
        """``name#0`` and so on."""
        return tuple(f"{self.name}#{bucket}" for bucket in range(self.buckets))

    def encode(self, column: Column) -> NDArray[np.float32]:
        """Return the features, each -1, 0 or 1."""
        # scikit-learn takes a while to import, and most tables do not need it.
        from sklearn.feature_extraction import FeatureHasher

        factor = self.labels(column)
        if not self.impute:
            refuse_missing(self.name, factor.codes < 0)
        hasher = FeatureHasher(self.buckets, input_type="string", dtype=np.float32)
        table = hasher.transform([[one] for one in (*factor.labels, "(missing)")]).toarray()
        return np.asarray(table[factor.codes], dtype=np.float32)
