"""`Layout`: parameters as one flat vector per member, and back."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Self, final

import torch
from torch import Tensor

from dfl.hypergrad.base import Parameters

__all__ = ["Layout"]


@final
@dataclass(frozen=True, eq=False)
class Layout:
    """Turns a list of parameters into ``(members, n)`` and back, in a fixed order.

    Args:
        shapes: shape of every parameter, the member axis included where there is one.
        members: number of members, or None where the loss is a scalar; the flat form then
            has one row.
    """

    shapes: tuple[torch.Size, ...]
    members: int | None

    @classmethod
    def of(cls, parameters: Parameters, members: int | None) -> Self:
        """Read the shapes of ``parameters``."""
        return cls(tuple(value.shape for value in parameters.values()), members)

    @property
    def rows(self) -> int:
        """Rows of the flat form."""
        return 1 if self.members is None else self.members

    @property
    def sizes(self) -> list[int]:
        """Numbers per member in each parameter."""
        return [prod(shape if self.members is None else shape[1:]) for shape in self.shapes]

    def flatten(self, tensors: Iterable[Tensor]) -> Tensor:
        """Return all tensors side by side. Shape ``(members, n)``."""
        pairs = zip(tensors, self.sizes, strict=True)
        return torch.cat([tensor.reshape(self.rows, size) for tensor, size in pairs], dim=1)

    def unflatten(self, flat: Tensor) -> tuple[Tensor, ...]:
        """Cut ``flat (members, n)`` into tensors of the parameters' shapes."""
        pairs = zip(torch.split(flat, self.sizes, dim=1), self.shapes, strict=True)
        return tuple(part.reshape(shape) for part, shape in pairs)

    def per_member(self, values: Tensor) -> Tensor:
        """Turn ``(rows,)`` into the shape of the loss: ``()``, or ``(members,)``."""
        return values.squeeze(0) if self.members is None else values
