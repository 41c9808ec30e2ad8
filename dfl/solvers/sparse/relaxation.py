"""The linear relaxation of an allocation problem, scaled, solved and certified."""

from dataclasses import dataclass, replace
from typing import Protocol, final

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array

from dfl.errors import InfeasibleProblemError
from dfl.scale import power_of_two
from dfl.solvers.sparse.sparse_model import NOTHING, Bools, Floats, Ints, SparseModel

__all__ = ["Engine", "Relaxation", "ScaledProgram", "relax"]

_FEWEST_UNITS = 1000
"""A resource is counted in units of at most a thousandth, so that tolerances are fine."""


@final
@dataclass(frozen=True, eq=False)
class ScaledProgram:
    """``min loss @ y  s.t.  use @ y <= left,  share @ y = 1,  y >= 0``, near 1 throughout.

    Args:
        loss: shape ``(V,)``, at most 1 in size.
        use: resources, shape ``(R, V)``.
        left: shape ``(R,)``.
        share: people, shape ``(N, V)``.
    """

    loss: Floats
    use: csr_array
    left: Floats
    share: csr_array


class Engine(Protocol):
    """Solves a scaled program."""

    def __call__(self, program: ScaledProgram) -> tuple[Floats, Floats]:
        """Return ``y`` and the derivative of the loss by ``left``, both as good as they come.

        Args:
            program: with at least one column; bounded, perhaps infeasible.

        Raises:
            InfeasibleProblemError: if it has no solution.
            NotConvergedError: if it was not solved.
        """


@final
@dataclass(frozen=True, eq=False)
class Relaxation:
    """The optimum of the relaxation.

    Args:
        weight: of each column, in [0, 1]. Shape ``(V,)``.
        prices: revenue gained by one more unit of each resource, >= 0. Shape ``(R,)``.
        bound: the dual value at ``prices``, the optimum unless the engine was imprecise; no
            allocation earns more.
    """

    weight: Floats
    prices: Floats
    bound: float


def relax(model: SparseModel, engine: Engine) -> Relaxation:
    """Solve the relaxation ``0 <= x <= 1`` of a model.

    Amounts of any size are brought near 1: a resource by its own unit, a column by the largest
    part of a resource that a whole one would use, the revenues by the largest gain. All are
    powers of two, so nothing is rounded. Resources that have run out are left out together
    with the columns that use them, and then priced so high that those columns do not pay.

    Args:
        model: the problem.
        engine: solves the scaled program.

    Raises:
        InfeasibleProblemError: if the engine says so, or a person is left no column.
        NotConvergedError: if the engine says so.
    """
    if not model.person.size:
        return Relaxation(model.revenue, np.zeros_like(model.left), 0.0)
    try:
        return _solved(model, engine)
    except InfeasibleProblemError:
        if (model.left == model.limit).all():
            raise
        return _solved(replace(model, left=model.limit), engine)  # short by rounding, perhaps


def _solved(model: SparseModel, engine: Engine) -> Relaxation:
    """Scale, solve, scale back and certify."""
    empty = model.left <= NOTHING
    shut = _users(model, empty)
    rows, open_model = np.flatnonzero(~empty), model.only(~shut)
    program, width, unit, worth = _scaled(open_model, rows)
    solution, slopes = engine(program)
    weight = np.zeros_like(model.revenue)
    weight[~shut] = np.maximum(solution, 0) / width
    prices = np.zeros_like(model.left)
    prices[rows] = np.maximum(-slopes, 0) * worth / unit
    _price_out(model, prices)
    free = np.zeros_like(prices)
    bound, unpriced = model.dual_value(prices), model.dual_value(free)
    if unpriced <= bound:
        return Relaxation(weight, free, unpriced)
    return Relaxation(weight, prices, bound)


def _users(model: SparseModel, empty: Bools) -> Bools:
    """Return the columns that use a resource of which there is nothing left."""
    shut = np.zeros(model.person.shape, dtype=bool)
    for row in np.flatnonzero(empty):
        shut |= model.use_of(int(row)) > model.limit[row]
    return shut


def _scaled(model: SparseModel, rows: Ints) -> tuple[ScaledProgram, Floats, Floats, float]:
    """Return the program, the width of each column, the unit of each row, and the loss's."""
    left = model.left[rows]
    part = diags_array(1 / left) @ model.use[rows] if rows.size else model.use[rows]
    part = csr_array(part)
    largest = part.max(axis=0).toarray().ravel() if rows.size else np.zeros_like(model.revenue)
    width = _unit(np.maximum(largest, 1))
    gain = (model.revenue - _least_using(model, part)[model.person]) / width
    worth = float(_unit(np.abs(gain).max(keepdims=True))[0])
    unit = _unit(left / max(model.first.size, _FEWEST_UNITS))
    narrow = diags_array(1 / width)
    columns = np.arange(model.person.size)
    people = csr_array((1 / width, (model.person, columns)))
    use = csr_array(diags_array(1 / unit) @ model.use[rows] @ narrow) if rows.size else part
    return ScaledProgram(-gain / worth, use, left / unit, people), width, unit, worth


def _least_using(model: SparseModel, part: csr_array) -> Floats:
    """Return the revenue of each person's column that uses least; gains are counted from it."""
    total: Floats = np.asarray(part.sum(axis=0), dtype=np.float64).ravel()
    least = -model.best(-total)
    return model.best(np.where(total <= least[model.person], model.revenue, -np.inf))


def _price_out(model: SparseModel, prices: Floats) -> None:
    """Raise prices until no column that alone uses too much beats a person's others.

    That never loosens the bound: a price that makes such a column lose its lead costs at most
    what is left of the resource, the lead pays for all that the column uses. It matters where
    nothing is left, and where a column is so wide that its loss is lost in the tolerance.
    """
    for row, limit in enumerate(model.limit):
        use, score = model.use_of(row), model.score(prices)
        wide = use > limit
        if wide.any():
            best = model.best(np.where(wide, -np.inf, score))[model.person]
            prices[row] += max(
                float(((score - best)[wide] / np.maximum(use[wide], NOTHING)).max()), 0.0
            )


def _unit(sizes: Floats) -> Floats:
    return power_of_two(torch.from_numpy(sizes)).numpy()
