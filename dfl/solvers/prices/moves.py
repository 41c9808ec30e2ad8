"""The moves of a few people away from a choice, and their best combination."""

from typing import final

import numpy as np
import scipy  # scipy.optimize loads on use
import torch
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array, diags_array, hstack
from torch import Tensor

from dfl.scale import power_of_two
from dfl.solvers.prices.lagrangian import Lagrangian
from dfl.solvers.sparse.quiet import unprinted

__all__ = ["Moves", "searched"]

_KINDS = 64  # of people whose moves are searched exactly
_NODES = 1000  # of the search tree: a limit in nodes and not in seconds gives equal answers


@final
class Moves:
    """Every move of some people away from a choice: who, where to, what it brings and uses.

    Args:
        lagrangian: the constraints.
        rows: the people, int64, shape ``(n,)``.
        choice: treatment of everyone, int64, shape ``(N,)``.

    Attributes:
        person: position in ``rows`` of each move, int64, shape ``(moves,)``, rising.
        treatment: where it leads, int64.
        gain: revenue it adds, float64.
        extra: what it uses more of each active constraint, shape ``(moves, active)``.
        units: size of these uses, powers of two, shape ``(active,)``.
        currency: size of the gains, a power of two: scaling by it rounds nothing.
    """

    def __init__(self, lagrangian: Lagrangian, rows: Tensor, choice: Tensor) -> None:
        revenue, cost = lagrangian.amounts(rows)
        stay = choice[rows, None]
        gain = revenue - revenue.gather(1, stay)
        money = cost - cost.gather(1, stay[..., None].expand(-1, -1, cost.shape[2]))
        possible = gain.isfinite() & (torch.arange(gain.shape[1], device=gain.device) != stay)
        self.person, self.treatment = (at.numpy() for at in possible.cpu().nonzero(as_tuple=True))
        self.gain: NDArray[np.float64] = gain[possible].cpu().numpy()
        self.people = rows.shape[0]
        leaves = stay.cpu().numpy()[self.person, 0]
        self.extra = self._uses(lagrangian, money[possible].cpu().numpy(), leaves)
        sizes = np.zeros(self.extra.shape[1])
        np.maximum.at(sizes, self.extra.indices, np.abs(self.extra.data))
        self.units = _units(sizes)
        self.currency = float(_units(np.abs(self.gain).max(initial=0, keepdims=True))[0])

    def _uses(
        self, lagrangian: Lagrangian, money: NDArray[np.float64], leaves: NDArray[np.int64]
    ) -> csr_array:
        """Return the uses: those of money are dense, a place is taken and another one left."""
        moves = np.arange(self.gain.shape[0])
        floor = lagrangian.min_return * money.sum(axis=1, keepdims=True) - self.gain[:, None]
        ones = (
            (np.ones(moves.size), (moves, self.treatment)),
            (np.ones(moves.size), (moves, leaves)),
        )
        shape = (moves.size, lagrangian.revenue.shape[1])
        places = csr_array(ones[0], shape=shape) - csr_array(ones[1], shape=shape)
        parts = [csr_array(money), places, csr_array(floor)]
        return csr_array(hstack(parts, format="csc")[:, lagrangian.active.numpy()])

    @property
    def scaled(self) -> csr_array:
        """The uses in their units, shape ``(moves, active)``."""
        return csr_array(self.extra @ diags_array(1 / self.units))


def searched(lagrangian: Lagrangian, margin: Tensor, choice: Tensor) -> Tensor:
    """Find the best feasible choices of a few kinds of people by branch and bound.

    Identical people with the same treatment are one kind, of whom any number may move: ties
    make no work. The kinds nearest to a tie are searched, everyone where there are few.

    Args:
        lagrangian: the constraints.
        margin: what a person's best move may lose, infinity without a move. Shape ``(N,)``.
        choice: treatment of everyone, int64, shape ``(N,)``.

    Returns:
        The new choice of everyone; the old one where none was found within the limit of nodes.
    """
    free = margin.isfinite().nonzero()[:, 0]
    _, kind, count = torch.unique(
        lagrangian.alike(choice)[free], return_inverse=True, return_counts=True
    )
    members = free[kind.argsort(stable=True)]
    last = count.cumsum(0)
    nearest = margin[members[last - count]].argsort(stable=True)[:_KINDS]
    start = (last - count)[nearest]
    moves = Moves(lagrangian, members[start], choice)
    if moves.gain.shape[0] == 0:
        return choice
    left = (lagrangian.limit - lagrangian.totals(choice)[1])[lagrangian.active].numpy()
    made = _best_numbers(moves, left, count[nearest].cpu().double().numpy())
    choice, first = choice.clone(), start.tolist()
    for move in np.flatnonzero(made):
        one, many = int(moves.person[move]), int(made[move])
        choice[members[first[one] : first[one] + many]] = int(moves.treatment[move])
        first[one] += many
    return choice


def _best_numbers(
    moves: Moves, left: NDArray[np.float64], most: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return how often to make each move, never where no numbers were found.

    Moves that use more than there would be left after all others are out: without them, the
    units are those of what is possible, far above the tolerance of the search.

    Args:
        moves: of some kinds of people.
        left: of each active constraint; negative where it is violated.
        most: people of each kind.
    """
    extra = moves.extra.toarray()
    relief = np.zeros((most.size, left.size))
    np.maximum.at(relief, moves.person, -extra)
    kept = np.flatnonzero((extra <= left + most @ relief).all(axis=1))
    made = np.zeros(moves.gain.shape[0], dtype=np.int64)
    if kept.size:
        units = _units(np.abs(extra[kept]).max(axis=0))
        people = moves.person[kept], np.arange(kept.size)
        with unprinted():
            found = scipy.optimize.milp(
                -moves.gain[kept] / moves.currency,
                constraints=[
                    scipy.optimize.LinearConstraint((extra[kept] / units).T, -np.inf, left / units),
                    scipy.optimize.LinearConstraint(
                        csc_array((np.ones(kept.size), people), shape=(most.size, kept.size)),
                        -np.inf,
                        most,
                    ),
                ],
                bounds=scipy.optimize.Bounds(0, most[moves.person[kept]]),
                integrality=np.ones(kept.size, dtype=np.int64),
                options={"node_limit": _NODES},
            )
        if found.x is not None:
            made[kept] = np.round(found.x)
    return made


def _units(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a unit for each size, kept within what quotients can bear."""
    return power_of_two(torch.from_numpy(sizes)).clip(2.0**-400, 2.0**400).numpy()
