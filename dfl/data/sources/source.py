"""`AbstractDataSource`: whatever gives rows for a seed; tables in files, and in memory."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

from dfl.data.encoder import FeatureEncoder
from dfl.data.hybrid import HybridData, HybridRecipe, pair_hybrid, to_hybrid
from dfl.data.sources.card import DataCard
from dfl.data.uplift_data import UpliftData
from dfl.errors import DataError

__all__ = ["AbstractDataSource", "AbstractTable", "LoadedData"]


class AbstractDataSource(ABC):
    """A data file, rows in memory, or a simulator."""

    @abstractmethod
    def hybrid(self, seed: int) -> HybridData:
        """Return randomised and observational rows, split for training and testing.

        Args:
            seed: the same seed gives the same rows.

        Raises:
            DataNotFoundError: if a file is not there.
            DataError: if a file cannot be read, is not what it claims to be, or holds no
                randomised rows.
            InvalidValueError: if a part comes out without one of the treatments.
        """


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class LoadedData(AbstractDataSource):
    """Rows of a file, split anew for every seed without reading the file again.

    Args:
        data: the rows; the randomised ones, where the file holds both kinds.
        obs: the observational rows of a file that holds both kinds, else None.
        encoder: turns further tables into the same features.
        card: the published data set, or None for a table of one's own.
        recipe: how `hybrid` splits.
    """

    data: UpliftData
    encoder: FeatureEncoder
    obs: UpliftData | None = None
    card: DataCard | None = None
    recipe: HybridRecipe = field(default_factory=HybridRecipe)

    def hybrid(self, seed: int) -> HybridData:
        """Split by the recipe; a real pair of RCT and OBS rows is kept, else OBS is made.

        Raises:
            DataError: if all rows are observational.
        """
        if self.obs is not None:
            parts = pair_hybrid(self.data, self.obs, seed=seed, recipe=self.recipe)
        elif self.data.source == "rct":
            parts = to_hybrid(self.data, seed=seed, recipe=self.recipe)
        else:
            raise DataError(
                "these rows are all observational; validation and test need randomised rows. "
                "Mark them in a source column, or collect some."
            )
        return replace(parts, encoder=self.encoder, card=self.card)


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractTable(AbstractDataSource):
    """Rows in a Parquet or CSV file.

    Args:
        path: the file, absolute or inside the folder ``DFL_DATA``; for a published data set
            None looks for its usual names there.
        recipe: how `hybrid` splits the rows.
    """

    path: Path | str | None = None
    recipe: HybridRecipe = field(default_factory=HybridRecipe)

    @abstractmethod
    def load(self) -> LoadedData:
        """Read the file, check it, and give its columns their roles.

        Raises:
            DataNotFoundError: if the file is not there; says where to get it.
            DataError: if the file cannot be read, or is not what it claims to be.
            InvalidValueError: if a value is missing or out of its range.
        """

    def hybrid(self, seed: int) -> HybridData:
        """Read and split. To split for many seeds, call `load` once and split that."""
        return self.load().hybrid(seed)
