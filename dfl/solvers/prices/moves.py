"""The moves of a few people away from a choice, and their best combination."""

from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, csc_array
from torch import Tensor

from dfl.scale import power_of_two
from dfl.solvers.prices.lagrangian import Lagrangian

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
        person: position in ``rows`` of each move, int64 on the CPU, shape ``(moves,)``.
        treatment: where it leads, int64 on the CPU.
        gain: revenue it adds, float64.
        extra: what it uses more of each active constraint, shape ``(moves, active)``.
    """

    def __init__(self, lagrangian: Lagrangian, rows: Tensor, choice: Tensor) -> None:
        revenue, use = lagrangian.uses(rows)
        stay = choice[rows, None]
        gain = revenue - revenue.gather(1, stay)
        extra = use - use.gather(1, stay[..., None].expand(-1, -1, use.shape[2]))
        possible = gain.isfinite() & (torch.arange(gain.shape[1], device=gain.device) != stay)
        self.person, self.treatment = possible.cpu().nonzero(as_tuple=True)
        self.gain: NDArray[np.float64] = gain[possible].cpu().numpy()
        self.extra: NDArray[np.float64] = extra[possible].cpu()[:, lagrangian.active].numpy()
        self.people = rows.shape[0]

    @property
    def units(self) -> NDArray[np.float64]:
        """Size of the uses of each active constraint, a power of two, shape ``(active,)``."""
        return _units(self.extra)

    @property
    def currency(self) -> float:
        """Size of the gains, a power of two: scaling by it rounds nothing."""
        return float(_units(self.gain[:, None])[0])

    def by_person(self) -> coo_array[np.float64, tuple[int, int]]:
        """Return the matrix that adds up the moves of each person, ``(n, moves)``."""
        moves = np.arange(self.gain.shape[0])
        return coo_array(
            (np.ones(moves.size), (self.person.numpy(), moves)), shape=(self.people, moves.size)
        )


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
    moves = Moves(lagrangian, members[(last - count)[nearest]], choice)
    if moves.gain.shape[0] == 0:
        return choice
    usage = lagrangian.totals(choice)[1]
    left = (lagrangian.limit - usage)[lagrangian.active].numpy()
    most = count[nearest].cpu().double().numpy()
    found = milp(
        -moves.gain / moves.currency,
        constraints=[
            LinearConstraint((moves.extra / moves.units).T, -np.inf, left / moves.units),
            LinearConstraint(csc_array(moves.by_person()), -np.inf, most),
        ],
        bounds=Bounds(0, most[moves.person.numpy()]),
        integrality=np.ones(moves.gain.shape[0], dtype=np.int64),
        options={"node_limit": _NODES},
    )
    if found.x is None:
        return choice
    choice, start = choice.clone(), (last - count)[nearest].tolist()
    made = np.round(found.x).astype(np.int64)
    for move in np.flatnonzero(made):
        one, many = int(moves.person[move]), int(made[move])
        choice[members[start[one] : start[one] + many]] = int(moves.treatment[move])
        start[one] += many
    return choice


def _units(amounts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a unit for each column, kept within what quotients can bear."""
    sizes = torch.from_numpy(np.abs(amounts).max(axis=0, initial=0.0))
    return power_of_two(sizes).clip(2.0**-400, 2.0**400).numpy()
