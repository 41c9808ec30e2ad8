"""Minimises the dual over the few prices by cutting planes, people near a tie kept in detail."""

from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
import scipy  # scipy.optimize loads on use
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array, eye_array, hstack, vstack
from torch import Tensor

from dfl.solvers.prices.lagrangian import Evaluation, Lagrangian
from dfl.solvers.prices.moves import Moves

__all__ = ["DualMinimiser", "DualMinimum"]

_CUTS = 40  # planes kept; older ones have long been far from the minimum
_SAMPLE = 2**14  # people from whom those who stand for others are taken
_FAR = 1e24  # growth of the box at which prices have left what floating point can tell apart
_GOLDEN = (5**0.5 - 1) / 2
_LEAST_SHARE = 1e-9
_MOVES = 3  # of each person that a model takes in at once
_WORTH = 1e-10  # of a move, in the model's currency, that is more than rounding
_STALLS = 6  # steps without progress after which the arithmetic has no more to give
_TOLERANCES = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


@final
@dataclass(frozen=True, eq=False)
class DualMinimum:
    """Where the dual was least.

    Args:
        best: evaluation at the prices found.
        choice: ``best.choice``, except that people who are tied follow the primal solution
            of the last model. int64, shape ``(N,)``.
        converged: the models show that no prices are better by more than the tolerance.
        infeasible: the dual fell below every allocation: none meets the constraints.
        iterations: evaluations of the dual, one pass over the data each.
    """

    best: Evaluation
    choice: Tensor
    converged: bool
    infeasible: bool
    iterations: int


class _Plane(NamedTuple):
    """Revenue and usage of an earlier choice, and the prices it was made at."""

    revenue: float
    usage: Tensor
    prices: Tensor


@final
@dataclass(frozen=True, eq=False)
class DualMinimiser:
    """Minimises ``g(prices) = prices . limit + sum_i max_j score_ij`` over ``prices >= 0``.

    Each step minimises a model that is nowhere above ``g``, within a box around the best
    prices so far: the ``detail`` people nearest to a tie have their whole ``max_j`` in it, all
    others the treatment chosen at the best prices, and every earlier evaluation adds a plane.
    With no more than ``detail`` people the model is ``g`` itself. The box grows while it holds
    good steps back and shrinks where the model misleads.

    Args:
        detail: people in detail, >= 1.
        max_iter: evaluations of ``g``, >= 1.
        tolerance: stop when ``g`` at the best prices is within this of the minimum, in
            currency.
        least: no allocation earns less than this, in currency.
    """

    detail: int
    max_iter: int
    tolerance: float
    least: float

    def minimise(self, lagrangian: Lagrangian, best: Evaluation, box: Tensor) -> DualMinimum:
        """Return the minimum.

        Args:
            lagrangian: what to evaluate.
            best: evaluation at the prices to start from; it counts as the first.
            box: how far the first step may move each price, > 0, shape ``(C,)``.
        """
        model = _Model(lagrangian, best, self.detail)
        cuts: list[_Plane] = []
        iterations, stalls, far = 1, 0, _FAR * float(box.max())
        while True:
            step = model.minimise(cuts, box)
            if step.guessed and best.value - step.value <= self.tolerance:
                step = model.minimise(cuts, box, guess=False)
            gain = best.value - step.value
            converged = gain <= self.tolerance and not step.boxed
            lost = stalls > _STALLS or float(box.max()) > far
            if converged or lost or iterations >= self.max_iter:
                break
            if gain <= self.tolerance:
                box, stalls = 64 * box, stalls + 1
                continue
            if step.prices.equal(best.prices):
                break  # the gain promised is rounding
            new = lagrangian.evaluate(step.prices)
            iterations += 1
            if new.value < self.least:
                return DualMinimum(new, new.choice, False, True, iterations)
            if model.exact and not step.boxed and new.value - step.value <= self.tolerance:
                return DualMinimum(new, model.choice(step, cuts), True, False, iterations)
            share = (best.value - new.value) / gain
            if share > 0.5 and step.boxed:
                box = 8 * box
            elif share < 0.1:
                box = box * (float(((new.prices - best.prices).abs() / box).max()) / 4)
            stalls = 0 if share > 1e-6 else stalls + (gain < 1e3 * self.tolerance)
            worse = best if new.value < best.value else new
            cuts = [*cuts, _Plane(worse.revenue, worse.usage, worse.prices)][-_CUTS:]
            if worse is best:
                best = new
                model = _Model(lagrangian, best, self.detail)
        return DualMinimum(best, model.choice(step, cuts), converged, False, iterations)


@final
@dataclass(frozen=True, eq=False)
class _Step:
    """Minimum of a model.

    Args:
        prices: where it is, shape ``(C,)``.
        value: the model there.
        boxed: the box held it.
        guessed: it leans on people who stand for others; else ``value`` is nowhere above
            ``g`` within the box.
        moves: share of each of the model's moves in its primal solution.
        planes: share of each plane's choice in it.
    """

    prices: Tensor
    value: float
    boxed: bool
    guessed: bool
    moves: NDArray[np.float64]
    planes: NDArray[np.float64]


@final
class _Model:
    """Linear program whose columns are the moves away from the choice at the best prices."""

    def __init__(self, lagrangian: Lagrangian, best: Evaluation, detail: int) -> None:
        self.lagrangian, self.best = lagrangian, best
        self.active = lagrangian.active
        self.rows, self.weight = _representatives(best.margin, detail)
        self.exact = detail >= best.margin.shape[0]
        self.moves = moves = Moves(lagrangian, self.rows, best.choice)
        self.scaled = moves.scaled
        self.modelled = np.zeros(moves.gain.shape[0], dtype=bool)  # the others are not worth it
        price = best.prices[self.active].numpy() * moves.units
        worth = moves.gain - self.scaled @ price
        every = np.arange(worth.size)
        self.modelled[_best_of_each(moves.person, worth, every)] = True

    def minimise(self, cuts: list[_Plane], box: Tensor, *, guess: bool = True) -> _Step:
        """Minimise over prices within ``box`` of the best, given further planes."""
        prices = self.best.prices[self.active].numpy()
        reach = box[self.active].numpy()
        moves = self.moves
        scale = moves.units / moves.currency
        high, low = (prices + reach) * scale, (prices - reach).clip(min=0) * scale
        weight = self.weight if guess else self.weight * (self.weight == 1)
        solution, duals = self._solve(cuts, high, low, weight)
        while solution is not None and self._add_moves(duals, weight):
            solution, duals = self._solve(cuts, high, low, weight)
        share = np.zeros(moves.gain.shape[0])
        if solution is None:
            nothing = share, np.zeros(len(cuts))
            return _Step(self.best.prices, self.best.value, True, False, *nothing)
        count = self.active.shape[0]
        new = torch.zeros_like(self.best.prices)
        new[self.active] = torch.from_numpy(duals[:count].clip(low, high) / scale)
        own, planes, held = np.split(solution.x, np.cumsum([self.modelled.sum(), len(cuts)]))
        share[self.modelled] = own
        value = self.best.revenue - float(solution.fun) * moves.currency
        guessed = bool((share[(self.weight > 1)[moves.person]] > 1e-9).any())
        return _Step(new, value, bool((held > 1e-9).any()), guessed, share, planes)

    def _add_moves(self, duals: NDArray[np.float64], weight: NDArray[np.float64]) -> bool:
        """Model the best moves that the duals leave worth making; say whether there are any."""
        moves, count = self.moves, self.active.shape[0]
        worth = moves.gain / moves.currency - self.scaled @ duals[:count]
        worth -= duals[count:-1][moves.person]
        worth[self.modelled | (weight[moves.person] == 0)] = 0
        found = np.flatnonzero(worth > _WORTH)
        self.modelled[_best_of_each(moves.person[found], worth[found], found)] = True
        return bool(found.size)

    def choice(self, step: _Step, cuts: list[_Plane]) -> Tensor:
        """Return everyone's treatment: whole people in place of the primal solution's shares.

        A plane is everyone's choice at earlier prices, of which the solution takes a share.
        People who chose differently there, sorted by how, are dealt out in these shares: so
        those who are tied split as the solution says. The others stay, or follow their moves.
        """
        used = np.flatnonzero(step.planes > _LEAST_SHARE)
        planes = [self.lagrangian.evaluate(cuts[k].prices).choice.int() for k in used]
        options = torch.stack([*planes, self.best.choice.int()])
        dealt = torch.from_numpy(step.planes[used]).to(options.device)
        own = self._own_shares(step.moves).to(options.device)
        split = (options != options[-1]).any(dim=0)
        split[self.rows[own[:, -1] > _LEAST_SHARE]] = True
        people = split.nonzero()[:, 0]
        for option in options:
            people = people[option[people].argsort(stable=True)]
        rank = torch.arange(people.shape[0], dtype=torch.float64, device=people.device)
        place = (0.5 + _GOLDEN * rank * bool(used.size)) % 1  # of an even spread over (0, 1)
        taken = torch.searchsorted(dealt.cumsum(0), place, right=True)
        choice = self.best.choice.clone()
        choice[people] = options[:, people].gather(0, taken[None])[0].long()
        left = torch.full(choice.shape, torch.inf, dtype=torch.float64, device=choice.device)
        left[people] = torch.where(taken == used.size, place - dealt.sum(), torch.inf)
        beyond = own > left[self.rows][:, None]
        moved = beyond[:, -1]
        choice[self.rows[moved]] = beyond.long().argmax(dim=1)[moved]
        return choice

    def _solve(
        self,
        cuts: list[_Plane],
        high: NDArray[np.float64],
        low: NDArray[np.float64],
        weight: NDArray[np.float64],
    ) -> tuple[Any, NDArray[np.float64]]:
        """Solve for the weights of moves, planes, and the two walls of the box.

        A person's moves, and that person's share of every plane, make up at most the weight;
        buying room at the price ``high``, or selling it at ``low``, holds the prices between.

        Returns:
            The solution, None without one; and the duals of the constraints, of each person,
            and of the planes together, >= 0.
        """
        active, best, moves, modelled = self.active, self.best, self.moves, self.modelled
        planes = [(usage - best.usage)[active].numpy() / moves.units for _, usage, _ in cuts]
        plane = coo_array(np.array(planes).reshape(len(cuts), active.shape[0]).T)
        gains = [(revenue - best.revenue) / moves.currency for revenue, _, _ in cuts]
        wall = eye_array(active.shape[0])
        use = hstack([self.scaled[modelled].T, plane, -wall, wall])
        people, row = np.unique(moves.person[modelled], return_inverse=True)  # the free ones
        most = np.append(weight[people], 1.0)
        walls = coo_array((most.size, 2 * active.shape[0]))
        shares = coo_array(np.repeat(most[:, None], len(cuts), axis=1))
        own = coo_array(
            (np.ones(row.size), (row, np.arange(row.size))), shape=(most.size, row.size)
        )
        once = hstack([own, shares, walls])
        left = (self.lagrangian.limit - best.usage)[active].numpy() / moves.units
        solution = scipy.optimize.linprog(  # type: ignore[call-overload]  # takes sparse ones
            -np.concatenate([moves.gain[modelled] / moves.currency, gains, -high, low]),
            A_ub=csc_array(vstack([use, once])),
            b_ub=np.concatenate([left, most]),
            method="highs-ds",
            options=_TOLERANCES,
        )
        duals = np.zeros(active.shape[0] + moves.people + 1)
        if solution.status != 0:
            return None, duals
        bound = np.concatenate([np.arange(active.shape[0]), active.shape[0] + people, [-1]])
        duals[bound] = -np.asarray(solution.ineqlin.marginals)
        return solution, duals

    def _own_shares(self, moves: NDArray[np.float64]) -> Tensor:
        """Return the shares of moves up to each treatment; 0 of who stand for others. (n, M)."""
        shares = torch.zeros(self.moves.people, self.lagrangian.revenue.shape[1]).double()
        shares[self.moves.person, self.moves.treatment] = torch.from_numpy(moves)
        shares[torch.from_numpy(self.weight > 1)] = 0
        return shares.cumsum(dim=1)


def _best_of_each(
    person: NDArray[np.int64], worth: NDArray[np.float64], which: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return each person's moves of most worth, a few of them.

    Args:
        person: of each move, rising.
        worth: of each move.
        which: the moves.
    """
    order = np.lexsort((-worth, person))
    rank = np.arange(person.size) - np.searchsorted(person, person)
    return which[order[rank < _MOVES]]


def _representatives(margin: Tensor, detail: int) -> tuple[Tensor, NDArray[np.float64]]:
    """Return people to model, and how many each of them stands for.

    The nearest to a tie stand for themselves. Of the others, the farther from a tie the fewer
    are taken: people who may change their treatment only at far prices need less detail.
    """
    near = margin.topk(min(detail, margin.shape[0]), largest=False)
    rows, weight = [near.indices], [torch.ones(near.indices.shape[0], dtype=torch.float32)]
    if margin.shape[0] > detail:
        some = torch.randint(
            margin.shape[0], (_SAMPLE,), generator=torch.Generator().manual_seed(0)
        ).to(margin.device)
        others = some[margin[some] > near.values[-1]]
        others = others[margin[others].argsort()]
        stands = margin.shape[0] / _SAMPLE
        size, step, start = detail // 2, 1, 0
        while start < others.shape[0]:
            part = others[start : start + size * step : step]
            rows.append(part)
            weight.append(weight[0].new_full((part.shape[0],), max(stands * step, 1.5)))
            start, step = start + size * step, step * 4
    every, share = torch.cat(rows), torch.cat(weight)
    possible = margin[every].isfinite()
    return every[possible], share[possible.cpu()].double().numpy()
