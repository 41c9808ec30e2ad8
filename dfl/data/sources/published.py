"""`AbstractPublished`: published data sets, described and checked by their cards."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray
from torch import from_numpy

from dfl.data.encoder import FeatureEncoder
from dfl.data.hybrid import HybridRecipe
from dfl.data.sources.card import DataCard
from dfl.data.sources.reading import amounts, find_file, group_ids, read_frame
from dfl.data.sources.source import AbstractTable, LoadedData
from dfl.data.uplift_data import Source, UpliftData
from dfl.errors import DataError, InvalidValueError
from dfl.frames import Frame, label_text

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

    def check_per_arm(self, name: str, values: tuple[float, ...]) -> None:
        """Check an option that gives a number, in currency, for each arm of the card.

        Raises:
            InvalidValueError: if there are more or fewer, or one is below 0.
        """
        arms = len(self.card.arms)
        if len(values) != arms or not min(values) >= 0:
            raise InvalidValueError(f"{name} must be {arms} numbers >= 0, got {values}.")

    def read(self, *files: Path, card: DataCard | None = None) -> "PublishedRows":
        """Read the rows.

        Args:
            files: read one after the other; none: the one file of the data set, where
                ``path`` and the usual names say.
            card: of these files, where they are not described by the class's own.

        Raises:
            DataNotFoundError: if the file is not there; says where to get it.
            DataError: if a file cannot be read, misses a column, or has a treatment that the
                card does not know.
        """
        card = self.card if card is None else card
        files = files or (find_file(self.path, card.files, where=card.where),)
        table = read_frame(*files, columns=card.columns)
        return PublishedRows(card, table, _arm_index(card, table), self.sample)


@final
@dataclass(frozen=True, eq=False)
class PublishedRows:
    """The rows of a published file, as its card names them.

    Args:
        card: the card.
        table: the columns of the card.
        treatment: index of the arm of each row, int64. Shape ``(N,)``.
        sample: whether they are knowingly a part of the file.
    """

    card: DataCard
    table: Frame
    treatment: NDArray[np.int64]
    sample: bool

    def amounts(self, name: str) -> NDArray[np.float32]:
        """Return a column of numbers, float32, shape ``(N,)``.

        Raises:
            DataError: if the column holds anything but numbers.
            InvalidValueError: if a number is missing or not finite.
        """
        return amounts(self.table, name, role="outcome").numpy()

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
        """Return the rows with the roles given, after comparing them with the card.

        Raises:
            DataError: if they differ from what was published, as `DataCard.verify`.
            InvalidValueError: if a value is missing or out of its range.
        """
        if not self.sample:
            self.card.verify(self.table, self.treatment)
        household = self.card.groups
        return UpliftData(
            features=encoder.encode(self.table),
            treatment=from_numpy(self.treatment),
            revenue=from_numpy(revenue),
            cost=from_numpy(cost),
            treatments=len(self.card.arms),
            source=source,
            groups=None if household is None else group_ids([self.table.column(household)])[0],
            feature_names=encoder.feature_names,
            treatment_names=self.card.arm_names,
        )

    def loaded(
        self, *, revenue: NDArray[np.float32], cost: NDArray[np.float32], recipe: HybridRecipe
    ) -> LoadedData:
        """Return the rows, all randomised, with an encoder made from them.

        Raises:
            DataError: if a feature column has the wrong kind, or as `uplift`.
            InvalidValueError: if a value is missing or out of its range.
        """
        encoder = FeatureEncoder.fit(self.table, self.card.features)
        data = self.uplift(encoder, revenue=revenue, cost=cost)
        return LoadedData(data=data, encoder=encoder, card=self.card, recipe=recipe)


def _arm_index(card: DataCard, table: Frame) -> NDArray[np.int64]:
    received = table.column(card.treatment).factor()
    values = [label_text(arm.value) or "" for arm in card.arms]
    places = received.places_in(values)
    if (places < 0).any():
        row = int((places < 0).argmax())
        got = repr(received.labels[received.codes[row]]) if received.codes[row] >= 0 else "nothing"
        raise DataError(
            f"column {card.treatment!r} of {card.name} must hold one of {values}, got {got} in "
            f"row {row}."
        )
    return places
