"""`AbstractPublished`: published data sets, described and checked by their cards."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from torch import from_numpy

from dfl.data.encoder import FeatureEncoder
from dfl.data.hybrid import HybridRecipe
from dfl.data.sources.card import DataCard
from dfl.data.sources.files import find_file
from dfl.data.sources.loaded import LoadedData
from dfl.data.sources.table import AbstractTable, amounts, group_ids
from dfl.data.uplift_data import Source, UpliftData
from dfl.errors import DataError

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["AbstractPublished", "PublishedRows"]


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractPublished(AbstractTable):
    """A published data set with a card.

    Args:
        sample: True for a part of the published file: rows, arms and means are then not
            compared with the published ones.
    """

    card: ClassVar[DataCard]

    sample: bool = False


@final
@dataclass(frozen=True, eq=False)
class PublishedRows:
    """The rows of a published file, as its card names them.

    Args:
        card: the card.
        table: the columns of the card.
        treatment: index of the arm of each row, int64. Shape ``(N,)``.
    """

    card: DataCard
    table: "DataFrame"
    treatment: NDArray[np.int64]

    @staticmethod
    def find(card: DataCard, path: Path | str | None) -> "PublishedRows":
        """Find the one file of the data set and read it.

        Raises:
            DataNotFoundError: if it is not there; says where to get it.
            DataError: as `read`.
        """
        return PublishedRows.read(card, find_file(path, card.files, where=card.where))

    @staticmethod
    def read(card: DataCard, *files: Path) -> "PublishedRows":
        """Read the files of the data set, one after the other.

        Raises:
            DataError: if a file cannot be read, misses a column, or has a treatment that the
                card does not know.
        """
        # pandas takes a while to import, and nobody else needs it.
        from dfl.data.sources.reading import read_table

        table = read_table(*files, columns=card.columns)
        return PublishedRows(card, table, _arm_index(card, table))

    def verify(self, *, sample: bool) -> None:
        """Compare the rows with what was published, unless they are knowingly a sample.

        Raises:
            DataError: as `DataCard.verify`.
        """
        if not sample:
            self.card.verify(self.table, self.treatment)

    def amounts(self, name: str) -> NDArray[np.float32]:
        """Return a column of numbers, float32, shape ``(N,)``.

        Raises:
            DataError: if the column holds anything but numbers.
        """
        return amounts(self.table, name)

    def per_arm(self, values: tuple[float, ...]) -> NDArray[np.float32]:
        """Return for each row the value that belongs to its arm, float32, shape ``(N,)``."""
        return np.asarray(values, dtype=np.float32)[self.treatment]

    def uplift(
        self,
        encoder: FeatureEncoder,
        *,
        revenue: NDArray[np.float32],
        cost: NDArray[np.float32],
        source: Source = "rct",
    ) -> UpliftData:
        """Return the rows with the roles given.

        Raises:
            InvalidValueError: if a value is missing or out of its range.
        """
        return UpliftData(
            features=encoder.encode(self.table),
            treatment=from_numpy(self.treatment),
            revenue=from_numpy(revenue),
            cost=from_numpy(cost),
            treatments=len(self.card.arms),
            source=source,
            groups=None if self.card.groups is None else group_ids(self.table, self.card.groups),
            feature_names=encoder.feature_names,
            treatment_names=self.card.arm_names,
        )

    def loaded(
        self, *, revenue: NDArray[np.float32], cost: NDArray[np.float32], recipe: HybridRecipe
    ) -> LoadedData:
        """Return the rows, all randomised, with an encoder made from them.

        Raises:
            DataError: if a feature column has the wrong kind.
            InvalidValueError: if a value is missing or out of its range.
        """
        encoder = FeatureEncoder.fit(self.table, self.card.features)
        data = self.uplift(encoder, revenue=revenue, cost=cost)
        return LoadedData(data=data, encoder=encoder, card=self.card, recipe=recipe)


def _arm_index(card: DataCard, table: "DataFrame") -> NDArray[np.int64]:
    index: Mapping[str | int, int] = {arm.value: place for place, arm in enumerate(card.arms)}
    column = table[card.treatment]
    places = column.map(index).to_numpy(dtype=np.float64, na_value=np.nan)
    unknown = np.isnan(places)
    if unknown.any():
        row = int(unknown.argmax())
        raise DataError(
            f"column {card.treatment!r} of {card.name} must hold one of {list(index)}, got "
            f"{column.iloc[row]!r} in row {row}."
        )
    return places.astype(np.int64)
