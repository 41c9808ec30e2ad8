"""`LoadedData`: a data file in memory, with the encoder that made its features."""

from dataclasses import dataclass, field, replace
from typing import final

from dfl.data.encoder import FeatureEncoder
from dfl.data.hybrid import HybridRecipe, pair_hybrid, to_hybrid
from dfl.data.sources.card import DataCard
from dfl.data.sources.source import AbstractDataSource, HybridData
from dfl.data.uplift_data import UpliftData
from dfl.errors import DataError

__all__ = ["LoadedData"]


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
