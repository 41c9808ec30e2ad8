"""Quadrature nodes for the maximum of normal variables, and the integrand's factors there."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import torch
from torch import Tensor

__all__ = ["Factors", "Nodes", "factors", "nodes"]

_FEW = 16  # entries
_GAUSS = (  # three points of the Gauss-Legendre rule on (0, 0.5)
    (0.25 - 0.25 * math.sqrt(0.6), 5 / 36),
    (0.25, 8 / 36),
    (0.25 + 0.25 * math.sqrt(0.6), 5 / 36),
)


@final
@dataclass(frozen=True)
class Nodes:
    """Nodes of the trapezoid rule, the same for all rows but for each row's largest value.

    Args:
        offsets: distance of each node from the row's largest value.
        step: distance between neighbours, which is their weight too.
        furthest: how far below the largest value an entry still counts. One further below is
            moved up to there; its probability is then below the rule's error anyway.
        between: places between two nodes, measured from the lower, and their weights, by which
            ``Phi`` is added up from node to node; empty to evaluate it at each.
    """

    offsets: tuple[float, ...]
    step: float
    furthest: float
    between: tuple[tuple[float, float], ...] = ()


class Factors(NamedTuple):
    """The integrand at one node, entries first; overwritten by the next node.

    Args:
        offset: the node's distance from the largest value.
        ratio: ``phi(u) / Phi(u) / scale`` at ``u = node - value``. Shape ``(M, n)``.
        product: ``prod_k Phi(u_k)``. Shape ``(n,)``.
        scale: what the ratio has still to be multiplied by.
    """

    offset: float
    ratio: Tensor
    product: Tensor
    scale: float


def nodes(values: Tensor) -> Nodes:
    """Return nodes fine enough for the number of entries and the dtype of the values.

    The maximum of more entries has a narrower density, which needs a smaller step: measured
    errors stay below 1e-6 (float32) and 1e-10 (float64) for 1 to 1,000 entries.

    Args:
        values: in units of the noise's standard deviation. Shape ``(..., M)``.
    """
    entries = max(values.shape[-1], 1)
    finer = (8 / max(entries, 2)) ** 0.146
    if values.dtype == torch.float64:
        return _nodes(-8.2, 8.4 + 0.3 * math.log10(entries), 0.3 * finer, 12.0)
    high = 5.1 + 0.5 * math.log10(entries)
    if entries > _FEW:  # adding up would multiply the rounding of every entry
        return _nodes(-4.9, high, 0.48 * finer, 8.2)
    # A power of two, because it multiplies without rounding.
    return replace(_nodes(-5.0, high, 0.5, 8.2), between=_GAUSS)


def _nodes(low: float, high: float, step: float, furthest: float) -> Nodes:
    count = math.ceil((high - low) / step) + 1
    return Nodes(tuple(low + step * index for index in range(count)), step, furthest)


def factors(values: Tensor, grid: Nodes) -> Iterator[Factors]:  # (M, n)
    """Yield the integrand's factors at each node, from the lowest upward, without a graph.

    With ``u`` at the middle node and ``s`` the distance from it, ``phi(u + s) = phi(u) exp(-u s)
    exp(-s^2 / 2)``: from node to node one multiplication instead of an exponential, as the last
    factor is the same for all entries and goes into ``scale``. With ``grid.between``, ``Phi``
    grows from node to node by the integral of ``phi``, whose values come the same way.

    Args:
        values: in units of the noise's standard deviation, entries first. Shape ``(M, n)``.
        grid: from `nodes`.
    """
    middle = len(grid.offsets) // 2
    u = (values.amax(dim=0) - values).clamp_(max=grid.furthest).add_(grid.offsets[middle])
    growth = (u * -grid.step).exp_()
    density = (u * u).mul_(-0.5).exp_().mul_(growth.pow(-middle))
    slopes = [(u * -place).exp_() for place, _ in grid.between]
    below = u.sub_(grid.offsets[middle]).mul_(-math.sqrt(0.5))
    cumulative, ratio = _phi(below, grid.offsets[0]), torch.empty_like(below)
    for index, offset in enumerate(grid.offsets):
        if index and not slopes:
            cumulative = _phi(below, offset, out=cumulative)
        torch.div(density, cumulative, out=ratio)
        distance = grid.step * (index - middle)
        scale = math.exp(-0.5 * distance * distance) / math.sqrt(2 * math.pi)
        yield Factors(offset, ratio, cumulative.prod(dim=0), scale)
        if slopes:
            first, *others = (_weight(grid, point, distance) for point in range(len(slopes)))
            torch.add(slopes[0], slopes[1], alpha=others[0] / first, out=ratio)
            ratio.add_(slopes[2], alpha=others[1] / first)
            cumulative.addcmul_(density, ratio, value=scale * first)
        density.mul_(growth)


def _phi(below: Tensor, offset: float, out: Tensor | None = None) -> Tensor:
    """Return ``Phi(offset - below * sqrt(2))``."""
    return torch.sub(below, offset * math.sqrt(0.5), out=out).erfc_().mul_(0.5)


def _weight(grid: Nodes, point: int, distance: float) -> float:
    """Return the weight of a place between two nodes, with what is common to all entries."""
    place, weight = grid.between[point]
    return weight * math.exp(-place * (distance + 0.5 * place))
