"""`AbstractDataSource`: whatever gives randomised and observational rows for a seed."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from dfl.data.encoder import FeatureEncoder
from dfl.data.sources.card import DataCard
from dfl.data.uplift_data import UpliftData

__all__ = ["AbstractDataSource", "HybridData"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class HybridData:
    """The four parts that every study needs; no person is in two of them.

    Args:
        rct: few randomised rows to train on.
        obs: many observational rows to train on.
        validation: randomised rows that choose between models.
        test: randomised rows that report.
        encoder: how tables become features, where the rows came from a table or a simulator.
        card: the published data set behind the rows, if there is one.
    """

    rct: UpliftData
    obs: UpliftData
    validation: UpliftData
    test: UpliftData
    encoder: FeatureEncoder | None = None
    card: DataCard | None = None


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
