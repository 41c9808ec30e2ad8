"""`AbstractPackaged`: published data sets that packages of others bring along."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from dfl.data.encoder import Encoding, FeatureEncoder
from dfl.data.sources.card import DataCard
from dfl.data.sources.published import PublishedRows
from dfl.data.sources.reading import find_file, read_frame
from dfl.data.sources.source import AbstractTable, LoadedData
from dfl.frames import Frame

__all__ = ["AbstractPackaged"]


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractPackaged(AbstractTable):
    """A published data set read from an installed package, so that no file has to be found.

    Its treatment is not a column but made from one. ``path`` names the same table saved as
    Parquet or CSV; by default the package is asked.
    """

    card: ClassVar[DataCard]

    @abstractmethod
    def installed(self) -> object:
        """Return the table as the package holds it, any frame.

        Raises:
            MissingExtraError: if the package is not installed; says how to get it.
        """

    @abstractmethod
    def arms(self, table: Frame) -> NDArray[np.int64]:
        """Return the arm of each row, -1 for rows that are no part of the experiment.

        Raises:
            DataError: if a column that says so is missing or holds no numbers.
        """

    @abstractmethod
    def amounts(self, rows: PublishedRows) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return revenue and cost of the rows, in currency, ``(N,)`` each.

        Raises:
            DataError: if a column is missing or holds no numbers.
            InvalidValueError: if a number is missing or not finite.
        """

    @final
    def load(self) -> LoadedData:
        """Read the table, check it against the card, and give its columns their roles.

        Raises:
            MissingExtraError: if there is neither a path nor the package.
            DataNotFoundError: if the file of ``path`` is not there.
            DataError: if it cannot be read, or differs from what was published.
            InvalidValueError: if a value is missing or out of its range.
        """
        card = self.card
        if self.path is None:
            table = Frame.of(self.installed())
        else:
            table = read_frame(find_file(self.path, card.files, where=card.where))
        table = table.select(card.columns)
        arm = self.arms(table)
        kept = Frame(table.table.filter((arm >= 0).tolist()))
        rows = PublishedRows(card, kept, arm[arm >= 0], sample=False)
        encoder = FeatureEncoder.fit(kept, card.features, Encoding(missing="impute"))
        revenue, cost = self.amounts(rows)
        data = rows.uplift(encoder, revenue=revenue, cost=cost)
        lost = int((arm < 0).sum())
        reason = "no part of the experiment, or without a known treatment or outcome"
        left_out = ((f"{lost:,} of {len(arm):,} rows of the table", reason),) if lost else ()
        return LoadedData(
            data=data, encoder=encoder, card=card, recipe=self.recipe, left_out=left_out
        )
