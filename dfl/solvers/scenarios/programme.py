"""The integer programme of a formulation, for one budget or for several with nested choices."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeAlias, final

import numpy as np
import scipy
from numpy.typing import NDArray

from dfl.errors import InfeasibleBudgetError, NotConvergedError
from dfl.problem import ScenarioProblem

__all__ = ["Amounts", "Rows", "Search", "amounts_of", "search"]

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

_UNITS = 1000.0  # the budget, in the units of the search: HiGHS's tolerance of 1e-6 is then 1e-9
_LARGEST_GAIN = 1e4  # largest revenue in the units of the search: its gap of 1e-6 is then 1e-10
_LIMIT_REACHED, _INFEASIBLE = 1, 2  # scipy's status


@final
@dataclass(frozen=True, eq=False)
class Amounts:
    """A `ScenarioProblem` in the units of the search; columns are pairs of segment and treatment.

    Args:
        revenue: ``(S, N * M)``.
        cost: ``(S, N * M)``.
        weight: probability of each scenario, ``(S,)``.
        most: largest total cost there may be in each scenario, ``(S,)``.
        budget: in units of cost.
        exchange: what one unit of cost is in units of revenue.
        currency: what one unit of revenue is in currency.
    """

    revenue: Floats
    cost: Floats
    weight: Floats
    most: Floats
    budget: float
    exchange: float
    currency: float

    @property
    def mean_revenue(self) -> Floats:
        """Expected revenue, ``(N * M,)``."""
        return self.weight @ self.revenue

    @property
    def mean_cost(self) -> Floats:
        """Expected cost, ``(N * M,)``."""
        return self.weight @ self.cost


def amounts_of(problem: ScenarioProblem, budget: float) -> Amounts:
    """Return a problem in the units of the search, at a budget that may be another one."""
    revenue, cost = (one.detach().cpu().double().numpy() for one in (problem.revenue, problem.cost))
    flat = (problem.scenarios, -1)
    most = cost.max(axis=2).sum(axis=1)
    unit = max(budget, float(most.max()) / _UNITS) / _UNITS or 1.0
    gain = float(np.abs(revenue).max(initial=0)) / _LARGEST_GAIN or 1.0
    return Amounts(
        revenue=revenue.reshape(flat) / gain,
        cost=cost.reshape(flat) / unit,
        weight=problem.weight.cpu().numpy(),
        most=most / unit,
        budget=budget / unit,
        exchange=unit / gain,
        currency=gain,
    )


@final
@dataclass(frozen=True, eq=False)
class Rows:
    """``max gain @ (z, e)  s.t.  matrix @ (z, e) <= limit``: columns z are binary, e are further.

    Args:
        gain: ``(V + E,)``.
        matrix: ``(R, V + E)``.
        limit: ``(R,)``.
        whole: whether each column is a whole number, ``(V + E,)``.
        least: lower bound of each column, ``(V + E,)``.
        most: upper bound of each column, ``(V + E,)``.
    """

    gain: Floats
    matrix: "scipy.sparse.csr_array"
    limit: Floats
    whole: Floats
    least: Floats
    most: Floats

    @staticmethod
    def of(
        gain_of_choice: Floats,
        use: Floats,
        limit: Sequence[float],
        *,
        extra: Floats | None = None,
        gain: Floats | None = None,
        whole: bool = False,
        least: float = 0.0,
        most: float = math.inf,
    ) -> "Rows":
        """Put rows together from those of the choice and those of further variables.

        Args:
            gain_of_choice: ``(V,)``.
            use: ``(R, V)``.
            limit: ``(R,)``.
            extra: ``(R, E)``; none where None.
            gain: of the further variables, 0 where None. ``(E,)``.
            whole: whether they are whole numbers.
            least: lower bound of the first of them; that of the others is 0.
            most: upper bound of them.
        """
        rows, columns = use.shape
        further = np.zeros((rows, 0)) if extra is None else extra
        count = further.shape[1]
        own = np.zeros(count) if gain is None else gain
        lower = np.zeros(columns + count)
        lower[columns : columns + 1] = least
        return Rows(
            gain=np.concatenate([gain_of_choice, own]),
            matrix=scipy.sparse.csr_array(
                scipy.sparse.hstack([scipy.sparse.coo_array(use), scipy.sparse.coo_array(further)])
            ),
            limit=np.asarray(limit, dtype=np.float64),
            whole=np.concatenate([np.ones(columns), np.full(count, float(whole))]),
            least=lower,
            most=np.concatenate([np.ones(columns), np.full(count, most)]),
        )

    def also(self, use_of_further: Floats, limit: float) -> "Rows":
        """Return the same with one more row, of the further variables."""
        return self._with(
            np.concatenate([np.zeros(self._left(use_of_further)), use_of_further]), limit
        )

    def under(self, use_of_choice: Floats, limit: float) -> "Rows":
        """Return the same with one more row, of the choice."""
        return self._with(
            np.concatenate([use_of_choice, np.zeros(self._left(use_of_choice))]), limit
        )

    def _left(self, part: Floats) -> int:
        return len(self.gain) - len(part)

    def _with(self, row: Floats, limit: float) -> "Rows":
        matrix = scipy.sparse.csr_array(
            scipy.sparse.vstack([self.matrix, scipy.sparse.coo_array(row[None])])
        )
        return replace(self, matrix=matrix, limit=np.append(self.limit, limit))


@final
@dataclass(frozen=True, eq=False)
class Search:
    """What a search has found.

    Args:
        choice: of every budget, ``(B, N)``; None where time ran out without one.
        bound: of the weighted objective, in the units of the search.
    """

    choice: Integers | None
    bound: float


def search(
    blocks: Sequence[Rows],
    weights: Sequence[float],
    shape: tuple[int, int],
    order: Integers | None,
    *,
    relative_gap: float,
    time_limit: float | None,
    cuts: Sequence[tuple[int, Integers]] = (),
) -> Search:
    """Branch and bound by HiGHS over the choices of one or several budgets together.

    Args:
        blocks: the rows of each budget, budgets rising.
        weights: of each budget's objective, > 0.
        shape: number of segments and of treatments, ``(N, M)``.
        order: treatments of each segment from the cheapest to the dearest, ``(N, M)``: choices
            are nested, no segment gets a cheaper treatment at a larger budget. None: each
            budget's choice is its own.
        relative_gap: enough when the bound is that near, as a part of it.
        time_limit: seconds, None for no limit.
        cuts: budgets and choices of theirs that are ruled out.

    Raises:
        InfeasibleBudgetError: if HiGHS proves that there is no choice.
        NotConvergedError: if HiGHS fails.
    """
    segments, treatments = shape
    starts = np.cumsum([0, *(one.gain.shape[0] for one in blocks)])
    constraints = [
        scipy.optimize.LinearConstraint(
            scipy.sparse.block_diag([one.matrix for one in blocks], format="csr"),
            ub=np.concatenate([one.limit for one in blocks]),
        ),
        _one_each(starts, shape),
    ]
    if order is not None and len(blocks) > 1 and treatments > 1:
        constraints.append(_nested(starts, order))
    if cuts:
        constraints.append(_ruled_out(cuts, starts, treatments))
    options: dict[str, Any] = {"mip_rel_gap": relative_gap}
    if time_limit is not None:
        options["time_limit"] = time_limit
    gain = np.concatenate([w * one.gain for w, one in zip(weights, blocks, strict=True)])
    solve: Any = scipy.optimize.milp  # its types know no options as a dictionary
    found = solve(
        -gain,
        integrality=np.concatenate([one.whole for one in blocks]),
        bounds=scipy.optimize.Bounds(
            np.concatenate([one.least for one in blocks]),
            np.concatenate([one.most for one in blocks]),
        ),
        constraints=constraints,
        options=options,
    )
    if found.status == _INFEASIBLE:
        raise InfeasibleBudgetError(
            "budget must allow a choice under this formulation, HiGHS proves that there is none; "
            "raise the budget, allow more risk, or add a cheaper treatment."
        )
    if found.x is None:
        if found.status == _LIMIT_REACHED:
            return Search(None, math.inf)
        raise NotConvergedError(f"HiGHS failed on the scenarios: {found.message}")
    bound = found.mip_dual_bound
    shares = np.stack([found.x[at : at + segments * treatments] for at in starts[:-1]])
    choice = shares.reshape(len(blocks), segments, treatments).argmax(axis=2)
    return Search(choice, -float(found.fun if bound is None else bound))


def _one_each(starts: Integers, shape: tuple[int, int]) -> "scipy.optimize.LinearConstraint":
    """One treatment for each segment, at every budget."""
    segments, treatments = shape
    every = np.arange(segments * treatments)
    columns = (starts[:-1, None] + every).ravel()
    blocks = np.arange(len(starts) - 1)[:, None] * segments
    rows = (blocks + every // treatments).ravel()
    size = ((len(starts) - 1) * segments, int(starts[-1]))
    return scipy.optimize.LinearConstraint(
        scipy.sparse.csr_array((np.ones(rows.size), (rows, columns)), shape=size), 1, 1
    )


def _nested(starts: Integers, order: Integers) -> "scipy.optimize.LinearConstraint":
    """From each budget to the next, no segment's treatment gets cheaper.

    For every treatment, the share on those at least as dear does not fall.
    """
    segments, treatments = order.shape
    pairs, row = [], 0
    for at, after in pairwise(starts[:-1]):
        for segment in range(segments):
            own = segment * treatments + order[segment]
            for rank in range(1, treatments):
                dear = own[rank:]
                pairs += [(row, at + one, 1.0) for one in dear]
                pairs += [(row, after + one, -1.0) for one in dear]
                row += 1
    rows, columns, values = (np.array(one) for one in zip(*pairs, strict=True))
    matrix = scipy.sparse.csr_array((values, (rows, columns)), shape=(row, int(starts[-1])))
    return scipy.optimize.LinearConstraint(matrix, ub=np.zeros(row))


def _ruled_out(
    cuts: Sequence[tuple[int, Integers]], starts: Integers, treatments: int
) -> "scipy.optimize.LinearConstraint":
    """Each choice ruled out differs from the one made in a segment at least."""
    segments = cuts[0][1].shape[0]
    columns = np.stack(
        [starts[block] + np.arange(segments) * treatments + choice for block, choice in cuts]
    )
    rows = np.repeat(np.arange(len(cuts)), segments)
    size = (len(cuts), int(starts[-1]))
    matrix = scipy.sparse.csr_array((np.ones(rows.size), (rows, columns.ravel())), shape=size)
    return scipy.optimize.LinearConstraint(matrix, ub=np.full(len(cuts), segments - 1.0))
