"""`CuttingPlanes`: several budgets, capacities and a least return, through their prices."""

import math
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from dfl.checks import check_count, check_number
from dfl.errors import InfeasibleProblemError, NotConvergedError
from dfl.problem import Allocation, AllocationProblem, rounding
from dfl.solvers.base import AbstractSolver, require_predicted_cost
from dfl.solvers.greedy_dual import GreedyDual
from dfl.solvers.prices.dual_minimiser import DualMinimiser, DualMinimum
from dfl.solvers.prices.dual_prices import DualPrices, PricedAllocation
from dfl.solvers.prices.lagrangian import Extremes, Lagrangian
from dfl.solvers.prices.repair import repair_at_prices

__all__ = ["CuttingPlanes", "DualAscent"]

_GROWTH = 16  # each sample of the people is so many times the one before
_LARGEST_SAMPLE = 2**16
_WORTHWHILE_SAMPLE = 2**13  # below it, a pass over everyone costs no more than over a sample
_SAMPLE_ITER = 12  # evaluations on a sample; its own minimum is not that of all people
_ROUNDING = 1e-12  # relative error of a sum of millions of terms, with room to spare
_MOSTLY_BASE = 100  # revenue by what is at stake, from which on what nobody can lose is taken off
_FIRST_BOX = 1e4  # in typical prices; the first sample is solved exactly, however far


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class CuttingPlanes(AbstractSolver):
    """Finds a price for each constraint by Kelley's cutting planes; choices follow, repaired.

    Every vector of prices ``p >= 0`` of budgets, capacities and least return gives a bound,
    ``g(p) = p . limit + sum_i max_j (revenue_ij - sum_c p_c use_ijc) >= optimum``; the least
    bound is the optimum of the LP relaxation. `DualMinimiser` finds it, first on small samples
    of the people, then on all. ``upper_bound`` is ``g`` at the prices found: a true bound however
    far they have converged. The choice follows the primal solution of the last model, in which
    at most C people are split between treatments, and is mended by `repair_at_prices`: the gap
    is about C steps of single people. Where nothing but one budget binds, `GreedyDual` answers.

    Revenue that people bring whatever they get moves nothing, unless there is a least return.
    Arithmetic is float64 whatever the inputs are; some 50 bytes per person are held beside them.

    Args:
        rtol: stop when ``upper_bound`` is within ``rtol * sum_i max_j |revenue_ij|`` of the
            LP optimum, in (0, 1), no unit.
        max_iter: evaluations of ``g`` on all people, >= 1. At the limit the best prices so
            far are used: still feasible, with a larger, honest gap.
        detail: people nearest to a tie whom the models keep exactly, >= 1. More take fewer
            evaluations and longer between them.

    Raises:
        InvalidValueError: if an option is out of its range.

    Source:
        The dual decomposition of Basu et al. (2020), ECLIPSE, ICML (DuaLip). Deviations: DuaLip
        climbs a dual smoothed by a ridge, with Nesterov's acceleration (2005,
        doi:10.1007/s10107-004-0552-5), which stays short of the optimum by the smoothing. Few
        prices allow the exact dual and second-order steps instead: the cutting planes of
        Kelley (1960), doi:10.1137/0108053, kept in a box (Marsten, Hogan and Blankenship,
        1975, doi:10.1287/opre.23.3.389), with people near a tie disaggregated.
    """

    rtol: float = 1e-9
    max_iter: int = 200
    detail: int = 256

    def __post_init__(self) -> None:
        """Check the options."""
        check_number("rtol", self.rtol, above=0, below=1)
        check_count("max_iter", self.max_iter, at_least=1)
        check_count("detail", self.detail, at_least=1)

    @torch.no_grad()
    def solve(self, problem: AllocationProblem) -> Allocation:
        """Return a feasible allocation with a certified gap.

        Args:
            problem: any constraints, costs predicted.

        Returns:
            An `Allocation` that meets all constraints, budgets up to
            `rounding`; ``multiplier`` holds the prices of the budgets.

        Raises:
            UnsupportedProblemError: if the problem has observed costs.
            InfeasibleProblemError: if the prices prove that no allocation meets the constraints.
            NotConvergedError: if none was found that does, though there may be one.
        """
        return self.solve_from(problem).allocation

    @torch.no_grad()
    def solve_from(
        self, problem: AllocationProblem, start: DualPrices | None = None
    ) -> PricedAllocation:
        """Return a feasible allocation and its prices, from prices known to be near.

        Args:
            problem: as in `solve`.
            start: prices of a similar problem: the same constraints with other limits, or
                other people. None to find them on samples first.

        Returns:
            A `PricedAllocation`. The start changes how soon it is found, and the choice only
            among allocations that are equally good up to the gap.

        Raises:
            UnsupportedProblemError: if the problem has observed costs.
            ShapeError: if ``start`` has other numbers of budgets or treatments.
            InvalidValueError: if a price of ``start`` is negative or not finite.
            InfeasibleProblemError: if the prices prove that no allocation meets the constraints.
            NotConvergedError: if none was found that does, though there may be one.
        """
        require_predicted_cost("cutting-planes", problem)
        exact = Lagrangian.of(problem)
        if exact.active.tolist() in [[], *([k] for k in range(exact.cost.shape[2]))]:
            return _one_budget(problem, exact)
        extremes, base = exact.extremes(), 0.0
        stake = extremes.most - extremes.least
        if problem.min_return is None and extremes.size > _MOSTLY_BASE * stake:
            exact, base = exact.less_base()
            extremes = exact.extremes()
        slack = _slack(exact, extremes, rounding(problem.budget, problem.rows))
        lagrangian = replace(exact, limit=exact.limit + slack)
        _refuse_impossible(lagrangian, extremes)
        if start is None:
            prices, box, sampled = self._prices_of_samples(lagrangian, extremes)
        else:
            prices, sampled = start.vector(lagrangian), 0
            box = _box(prices, extremes)
        found, more = self._minimise(lagrangian, extremes, prices, box)
        if found.infeasible:
            raise InfeasibleProblemError(_clash(lagrangian, extremes, found.best.prices))
        choice, feasible = repair_at_prices(lagrangian, exact.limit, found.best, found.choice)
        if not feasible:
            raise NotConvergedError(_not_repaired(lagrangian, choice, found))
        bound = base + found.best.value - float(found.best.prices @ slack)
        bound += _ROUNDING * abs(base)
        return PricedAllocation(
            _answer(problem, replace(lagrangian, base=None), found.best.prices, choice, bound),
            DualPrices.of(found.best.prices.to(choice.device), lagrangian.cost.shape[2]),
            found.iterations,
            sampled + more,
            found.converged,
        )

    def _minimise(
        self, lagrangian: Lagrangian, extremes: Extremes, prices: Tensor, box: Tensor
    ) -> tuple[DualMinimum, int]:
        """Minimise over all people; return also the evaluations on a sample.

        Unless the start is the minimum already, prices are corrected on a sample whose limits
        are set so that it asks for the same change as all people do at the start: what a
        sample gets wrong is then a share of the change, not of the prices.
        """
        planes = DualMinimiser(
            self.detail, self.max_iter, self.rtol * extremes.size, extremes.least
        )
        first = lagrangian.evaluate(prices)
        size = min(_LARGEST_SAMPLE, lagrangian.rows // 4)
        if size < _WORTHWHILE_SAMPLE or self.max_iter == 1:
            return planes.minimise(lagrangian, first, box), 0
        found = replace(planes, max_iter=1).minimise(lagrangian, first, box)
        if found.converged:
            return found, 0
        sample = lagrangian.take(_some(lagrangian, size))
        at = sample.evaluate(prices)
        change = size / lagrangian.rows * (lagrangian.limit - first.usage)
        sample = replace(sample, limit=at.usage + change)
        rough = DualMinimiser(self.detail, _SAMPLE_ITER, 1e-8 * extremes.size, -math.inf)
        nearer = rough.minimise(sample, sample.evaluate(prices), box)
        better = lagrangian.evaluate(nearer.best.prices)
        best = min(first, better, key=lambda evaluation: evaluation.value)
        found = replace(planes, max_iter=self.max_iter - 1).minimise(lagrangian, best, box)
        return replace(found, iterations=found.iterations + 1), nearer.iterations + 1

    def _prices_of_samples(
        self, lagrangian: Lagrangian, extremes: Extremes
    ) -> tuple[Tensor, Tensor, int]:
        """Solve ever larger samples; return prices and box for all people, and evaluations."""
        typical = extremes.typical_prices()
        prices, box = torch.zeros_like(typical), _FIRST_BOX * typical
        size, sampled = self.detail, 0
        while size < lagrangian.rows / 2 and size <= _LARGEST_SAMPLE:
            sample = lagrangian.take(_some(lagrangian, size))
            within = sample.extremes()
            room = (lagrangian.limit - extremes.floor).clamp_min(0)
            sample = replace(sample, limit=within.floor + room * size / lagrangian.rows)
            planes = DualMinimiser(self.detail, _SAMPLE_ITER, 1e-6 * within.size, within.least)
            found = planes.minimise(sample, sample.evaluate(prices), box)
            sampled += found.iterations
            if not found.infeasible:
                prices = found.best.prices
            box = _box(prices, extremes)
            size *= _GROWTH
        return prices, box, sampled


def _some(lagrangian: Lagrangian, size: int) -> Tensor:
    """Draw people, the same ones each time; a larger sample holds the smaller ones."""
    order = torch.randperm(lagrangian.rows, generator=torch.Generator().manual_seed(0))
    return order[:size].sort().values.to(lagrangian.revenue.device)


def _box(prices: Tensor, extremes: Extremes) -> Tensor:
    """Return how far prices may move that are thought to be near."""
    return prices + 0.1 * extremes.typical_prices()


def _one_budget(problem: AllocationProblem, lagrangian: Lagrangian) -> PricedAllocation:
    """Solve exactly where nothing but one budget can bind, or nothing at all."""
    binding = int(lagrangian.active[0]) if len(lagrangian.active) else 0
    cost, limit = lagrangian.cost[..., binding], lagrangian.limit[binding]
    if limit.isinf():
        limit = cost.amax(dim=1).sum(dtype=torch.float64)
    plain = replace(problem, cost=cost, budget=limit, capacity=None, min_return=None)
    found = GreedyDual().solve(plain)
    prices = found.multiplier.new_zeros(lagrangian.limit.shape)
    prices[binding] = found.multiplier
    if problem.cost.ndim == 3:
        spent = lagrangian.totals(found.choice)[1][: lagrangian.cost.shape[2]]
        spent = spent.to(prices.device)
        spent[binding] = found.cost
        found = replace(found, multiplier=prices[: len(spent)], cost=spent)
    return PricedAllocation(found, DualPrices.of(prices, lagrangian.cost.shape[2]), 1, 0, True)


def _slack(lagrangian: Lagrangian, extremes: Extremes, excess: float) -> Tensor:
    """Return the excess over each limit that is taken for rounding; people are counted exactly."""
    slack = torch.zeros_like(lagrangian.limit)
    budgets = lagrangian.cost.shape[2]
    finite = lagrangian.limit[:budgets].nan_to_num(posinf=0)
    slack[:budgets] = 0.999 * excess * finite  # sums in another order round otherwise
    slack[-1] = _ROUNDING * extremes.size
    return slack


def _refuse_impossible(lagrangian: Lagrangian, extremes: Extremes) -> None:
    """Refuse a constraint that cannot even be met alone."""
    over = extremes.floor > lagrangian.limit + _ROUNDING * extremes.ceiling.abs()
    for c in over.nonzero()[:, 0].tolist():
        raise InfeasibleProblemError(
            f"no allocation meets {lagrangian.names()[c]}: even alone it needs "
            f"{float(extremes.floor[c]):g} and allows {float(lagrangian.limit[c]):g}; relax it, "
            "or allow more treatments."
        )


def _clash(lagrangian: Lagrangian, extremes: Extremes, prices: Tensor) -> str:
    weight = prices / extremes.typical_prices()
    names = lagrangian.names()
    clash = [names[c] for c in (weight > 1e-6 * weight.max()).nonzero()[:, 0].tolist()]
    return (
        f"no allocation meets {' and '.join(clash)} together: at the prices found every "
        "allocation within them would earn less than the worst one; relax one of them."
    )


def _not_repaired(lagrangian: Lagrangian, choice: Tensor, found: DualMinimum) -> str:
    over = lagrangian.totals(choice)[1] - lagrangian.limit
    names = lagrangian.names()
    left = [f"{names[c]} by {float(over[c]):g}" for c in (over > 0).nonzero()[:, 0].tolist()]
    return (
        f"no feasible allocation found: after {found.iterations} evaluations the best choice "
        f"exceeds {', '.join(left)}; use mixed-integer, which finds one if there is one, or "
        "relax these."
    )


def _answer(
    problem: AllocationProblem,
    lagrangian: Lagrangian,
    prices: Tensor,
    choice: Tensor,
    bound: float,
) -> Allocation:
    """Add up a choice; the multiplier of a single budget is a number, as its cost is."""
    revenue, usage = lagrangian.totals(choice)
    first = 0 if problem.cost.ndim == 2 else slice(lagrangian.cost.shape[2])
    return Allocation(
        choice=choice,
        multiplier=prices[first].to(choice.device),
        revenue=prices.new_tensor(revenue).to(choice.device),
        cost=usage[first].to(choice.device),
        upper_bound=prices.new_tensor(max(bound, revenue)).to(choice.device),
    )


DualAscent = CuttingPlanes  # what it was called before
