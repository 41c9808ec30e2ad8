"""Where blocks of people come from: each fits in memory, and is read again for every pass."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, final

from numpy.typing import NDArray
from torch import Tensor

from dfl.checks import check_count
from dfl.scale import rank_of

__all__ = ["AbstractBlocks", "Arrays", "TensorBlocks"]

Arrays: TypeAlias = Mapping[str, NDArray[Any]]


class AbstractBlocks(ABC):
    """People in blocks, in a fixed order; a block is read as often as it is asked for."""

    @property
    @abstractmethod
    def sizes(self) -> Sequence[int]:
        """Number of people of each block."""

    @abstractmethod
    def scores(self, block: int) -> tuple[Tensor, Tensor]:
        """Return revenue and cost of a block's people, checked, each ``(n, M)``, on the CPU."""

    def once(self, name: str, block: int, make: Callable[[], Arrays]) -> Arrays:
        """Return what is made of a block, from an earlier start where that kept it.

        Args:
            name: of what is made.
            block: which block.
            make: makes it.
        """
        return make()

    def over(
        self, name: str, blocks: Sequence[int], make: Callable[[int], Arrays]
    ) -> Iterator[tuple[int, Arrays]]:
        """Yield what is made of blocks, in their order; under torchrun, of this process's share.

        Args:
            name: of what is made; `once` keeps it under this name.
            blocks: which.
            make: makes it of a block.
        """
        rank, world = rank_of()
        for block in blocks[rank::world]:
            yield block, self.once(name, block, partial(make, block))


@final
@dataclass(frozen=True, eq=False)
class TensorBlocks(AbstractBlocks):
    """Tensors cut into blocks.

    Args:
        revenue: in currency. Shape ``(N, M)``.
        cost: in currency, >= 0. Shape ``(N, M)``.
        rows: of a block, >= 1.
    """

    revenue: Tensor
    cost: Tensor
    rows: int

    def __post_init__(self) -> None:
        """Check the size."""
        check_count("rows", self.rows, at_least=1)

    @property
    def sizes(self) -> Sequence[int]:
        """Number of people of each block."""
        rows = len(self.revenue)
        return [min(self.rows, rows - start) for start in range(0, rows, self.rows)]

    def scores(self, block: int) -> tuple[Tensor, Tensor]:
        """Return a block's rows."""
        part = slice(block * self.rows, (block + 1) * self.rows)
        return self.revenue[part], self.cost[part]
