"""An allocation problem as sparse rows: what each open choice earns and uses up."""

from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack
from torch import Tensor

from dfl.errors import InfeasibleProblemError
from dfl.problem import Allocation, AllocationProblem, Split, rounding

__all__ = [
    "NOTHING",
    "Bools",
    "Floats",
    "Ints",
    "SparseModel",
    "infeasible",
    "sparse_model",
    "written_out",
]

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]
Ints: TypeAlias = NDArray[np.int64]

NOTHING = 1e-250
"""What is left of a resource below this is not divided by: quotients would overflow."""

_RETURN_SLACK = 1e-11
"""Part of ``min_return`` that is taken for rounding: without it, ties break even by chance."""


@final
@dataclass(frozen=True, eq=False)
class SparseModel:
    """``max revenue @ x`` over one-of-many choices that share R resources.

    A column is one person with one treatment that ``choices`` leaves open. Every constraint
    is a resource that runs out: each budget, the return missing to ``min_return``, the places
    on each treatment. ``use`` counts from each person's least use, so it is never negative,
    and ``left`` is what remains when everyone uses the least:
    ``use @ x <= left,  sum of a person's x = 1,  x >= 0``.

    Args:
        person: of each column, rising; everyone has a column. Shape ``(V,)``.
        treatment: of each column. Shape ``(V,)``.
        revenue: of each column, in currency. Shape ``(V,)``.
        first: each person's first column. Shape ``(N,)``.
        use: of each resource by each column, >= 0. Shape ``(R, V)``; the budgets come first.
        left: of each resource, >= 0. Shape ``(R,)``.
        limit: ``left`` with what is taken for rounding: a choice is feasible when it uses no
            more than this. Shape ``(R,)``.
    """

    person: Ints
    treatment: Ints
    revenue: Floats
    first: Ints
    use: csr_array
    left: Floats
    limit: Floats

    @property
    def closed(self) -> Bools:
        """Columns that alone use more than there is of a resource. Shape ``(V,)``."""
        over = np.zeros(self.person.shape, dtype=bool)
        for row, limit in enumerate(self.limit):
            over |= self.use_of(row) > limit
        return over

    def use_of(self, row: int) -> Floats:
        """Return the use of one resource by each column. Shape ``(V,)``."""
        filled = np.zeros(self.person.shape)
        span = slice(self.use.indptr[row], self.use.indptr[row + 1])
        filled[self.use.indices[span]] = self.use.data[span]
        return filled

    def used(self, taken: Ints) -> Floats:
        """Return what is used of each resource when everyone gets the column ``taken``."""
        return np.array([self.use_of(row)[taken].sum() for row in range(self.left.shape[0])])

    def score(self, prices: Floats) -> Floats:
        """Return each column's revenue less what it uses, at a price per resource."""
        score: Floats = self.revenue - self.use.T @ prices
        return score

    def best(self, amount: Floats) -> Floats:
        """Return each person's largest amount over their columns. Shape ``(N,)``."""
        return np.maximum.reduceat(amount, self.first) if self.first.size else amount

    def dual_value(self, prices: Floats) -> float:
        """Return ``prices @ left + sum_i max_j score_ij``: no allocation earns more.

        Args:
            prices: of each resource, any numbers >= 0. Shape ``(R,)``.
        """
        return float(prices @ self.left + self.best(self.score(prices)).sum())

    def only(self, kept: Bools) -> "SparseModel":
        """Return the model without some columns.

        Args:
            kept: True where a column stays. Shape ``(V,)``.

        Raises:
            InfeasibleProblemError: if a person keeps none.
        """
        person = self.person[kept]
        first = _starts(person)
        if first.shape != self.first.shape:
            raise InfeasibleProblemError(infeasible("the budgets leave someone no treatment"))
        columns = (self.treatment[kept], self.revenue[kept], first, self.use[:, kept])
        return SparseModel(person, *columns, self.left, self.limit)


def sparse_model(problem: AllocationProblem) -> SparseModel:
    """Write a problem as a `SparseModel`, in float64 on the CPU.

    Args:
        problem: any budgets, masks, pins, capacities and ``min_return``; observed costs play
            no part.

    Raises:
        InfeasibleProblemError: if someone has no treatment with a place on it, or everyone's
            least use of one resource is already too much.
    """
    rows, treatments = problem.revenue.shape
    person, treatment = np.nonzero(_open(problem))
    budgets = _limits(problem)
    revenue = _numpy(problem.revenue)[person, treatment]
    cost = _numpy(problem.cost.reshape(rows, treatments, budgets.shape[0]))[person, treatment].T
    use = [*cost]
    limit, slack = (
        [*budgets],
        [*(rounding(problem.budget, rows) / 2 * budgets)],
    )  # half, as other sums round otherwise
    if problem.min_return is not None:
        rate = problem.min_return * (1 - _RETURN_SLACK)
        use, limit, slack = [*use, rate * cost.sum(0) - revenue], [*limit, 0.0], [*slack, 0.0]
    for j, places in _capacities(problem):
        use, limit, slack = [*use, 1.0 * (treatment == j)], [*limit, places], [*slack, 0.0]
    first = _starts(person)
    extra = [_extra(row, person, first) for row in use]
    least = np.array([lowest for _, lowest in extra])
    remaining = np.array(limit) - least
    loosest = np.maximum(remaining + np.array(slack), 0)
    _check_possible(problem, budgets, remaining)
    stacked = csr_array(vstack([csr_array(row[None]) for row, _ in extra], format="csr"))
    return SparseModel(
        person, treatment, revenue, first, stacked, np.maximum(remaining, 0), loosest
    )


def written_out(
    problem: AllocationProblem,
    model: SparseModel,
    taken: Ints,
    prices: Floats,
    bound: float,
    split: Split | None = None,
) -> Allocation:
    """Return the columns that everyone gets as an `Allocation`.

    Args:
        problem: as the caller gave it.
        model: made from it.
        taken: everyone's column, feasible. Shape ``(N,)``.
        prices: of the resources; those of the budgets are the multiplier. Shape ``(R,)``.
        bound: no allocation earns more, in currency.
        split: the fractional person, if any.
    """
    device = problem.revenue.device
    choice = torch.from_numpy(model.treatment[taken]).to(device)
    revenue = problem.revenue.detach().double().gather(1, choice[:, None]).sum()
    everyone = torch.arange(problem.rows, device=device)
    shape = problem.cost.shape[2:]
    multiplier = torch.from_numpy(prices[: problem.budgets.shape[0]]).reshape(shape)
    return Allocation(
        choice=choice,
        multiplier=multiplier.to(device),
        revenue=revenue,
        cost=problem.cost.detach()[everyone, choice].sum(dim=0, dtype=torch.float64),
        upper_bound=revenue.clamp(min=bound),  # differ by rounding when both are best
        split=split,
    )


def infeasible(reason: str) -> str:
    """Say that no allocation meets all the constraints, why, and what to do."""
    return (
        f"No allocation meets all the constraints together: {reason}; raise a budget or a "
        "capacity, lower min_return, or allow and unpin more treatments."
    )


def _open(problem: AllocationProblem) -> Bools:
    """Return what masks, pins and capacities of 0 leave. Shape ``(N, M)``.

    Raises:
        InfeasibleProblemError: if they leave someone nothing.
    """
    choices, shape = problem.choices, tuple(problem.revenue.shape)
    left: Bools = np.ones(shape, dtype=bool) if choices is None else choices.cpu().numpy()
    if problem.capacity is not None:
        left = left & (problem.capacity.cpu().numpy() >= 1)
    if not left.any(axis=1).all():
        raise InfeasibleProblemError(infeasible("a capacity of 0 leaves someone no treatment"))
    return left


def _check_possible(problem: AllocationProblem, limits: Floats, remaining: Floats) -> None:
    """Refuse what cannot even be met one resource at a time.

    A problem checks its budgets when it is made, but there every treatment has places.

    Raises:
        InfeasibleProblemError: which says of which resource.
    """
    budgets = len(limits)
    for limit, left in zip(limits, remaining, strict=False):
        if left < -rounding(problem.budget, problem.rows) * limit:
            raise InfeasibleProblemError(
                infeasible(
                    "some treatments have no place, and the cheapest of the others costs "
                    f"{limit - left:g} for everyone, the budget is {limit:g}"
                )
            )
    if bool((remaining[budgets:] < 0).any()):
        if problem.min_return is not None and remaining[budgets] < 0:
            raise InfeasibleProblemError(
                infeasible(f"the best return is below min_return = {problem.min_return:g}")
            )
        raise InfeasibleProblemError(
            infeasible("more people have one treatment only than its capacity")
        )


def _limits(problem: AllocationProblem) -> Floats:
    """Return the budgets, the dearest choice for everyone in place of infinity."""
    if bool(problem.budgets.isfinite().all()):
        return problem.budgets.numpy()
    dearest = problem.cost.detach().amax(dim=1).sum(dim=0, dtype=torch.float64).cpu()
    return problem.budgets.minimum(dearest).numpy()


def _capacities(problem: AllocationProblem) -> list[tuple[int, float]]:
    """Return the treatments that could fill up, and their places: people are whole."""
    if problem.capacity is None:
        return []
    places = problem.capacity.double().floor().tolist()
    return [(j, room) for j, room in enumerate(places) if room < problem.rows]


def _extra(amount: Floats, person: Ints, first: Ints) -> tuple[Floats, float]:
    """Return the amounts above each person's least, and the sum of the least."""
    if not first.size:
        return amount, 0.0
    least = np.minimum.reduceat(amount, first)
    return amount - least[person], float(least.sum())


def _starts(person: Ints) -> Ints:
    """Return where each person begins in a rising column."""
    return np.flatnonzero(np.diff(person, prepend=-1))


def _numpy(amount: Tensor) -> Floats:
    array: Floats = amount.detach().double().cpu().numpy()
    return array
