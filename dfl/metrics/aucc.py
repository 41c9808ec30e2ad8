"""Area under the cost curve: does a score find the people whose money comes back first?"""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from dfl.checks import check_count
from dfl.data.uplift_data import PotentialOutcomes, UpliftData
from dfl.errors import InvalidValueError, UnsupportedProblemError
from dfl.metrics.rows.randomised_rows import PolicyEstimator, check_score
from dfl.metrics.rows.ranked_rows import Increments, RankedRows, RankedSteps, running
from dfl.metrics.rows.redrawn import redrawn, rows_key
from dfl.stats.arrays import Vector
from dfl.stats.bootstrap import DEFAULT_BOOTSTRAP, Bootstrap, Estimate

__all__ = ["CostCurve", "aucc", "cost_curve", "mt_aucc", "true_aucc"]

_ROUNDING = 1e-12  # a goal met exactly counts as met, whatever the last bits
_WINDOW = 64  # rows looked at first for the next point; doubled until it is found


@final
@dataclass(frozen=True, eq=False)
class CostCurve:
    """Incremental cost and revenue as more people are treated, best score first.

    Args:
        cost: incremental cost per head, in currency, from 0. float64, shape ``(points,)``.
        revenue: incremental revenue per head, in currency, from 0. float64, shape
            ``(points,)``.
        area: AUCC, ``sum(revenue) / (last revenue * (quantiles + 1))``, no unit; of fewer rows
            than ``quantiles`` the trapezoids under the points. A random order has 0.5.
    """

    cost: Tensor
    revenue: Tensor
    area: float


def cost_curve(
    data: UpliftData,
    score: Tensor,  # (N,)
    *,
    quantiles: int = 200,
    estimator: PolicyEstimator = "horvitz-thompson",
) -> CostCurve:
    """Compute the points of the cost curve and the area under them.

    Going down the ranking, a point is kept each time the incremental cost reaches the next
    of ``quantiles`` equal parts of the total, at most one per row, and at the last row. Of fewer
    rows than ``quantiles`` every row is a point, and the area is that under the lines between.
    Rows of equal score are averaged over all their orders: between the ends of a tie cost and
    revenue run straight, so that a score that says nothing has 0.5.

    Args:
        data: randomised rows with two treatments.
        score: higher is treated earlier, any unit; see `roi_score`. Shape ``(N,)``.
        quantiles: number of parts, >= 1. Published numbers on Criteo use 200; the authors'
            code has 20 as default.
        estimator: ``"horvitz-thompson"``: the raw sums, as published tables have them; a
            constant added to everyone's revenue adds noise. ``"doubly-robust"``: what features
            predict of cost and revenue is first taken off treated and untreated alike, which
            takes away noise and nothing else; that constant then changes nothing.
            ``"self-normalised"``: the raw sums too, which the sizes of the arms normalise.

    Raises:
        UnsupportedProblemError: if there are not two treatments, or the propensity differs
            between rows.
        DTypeError: if ``score`` is no tensor of real numbers.
        ShapeError: if ``score`` is not ``(N,)``.
        InvalidValueError: if ``score`` is not finite, ``quantiles`` is below 1, the rows are
            observational, the estimator is unknown, or the total cost or revenue effect is not
            positive.

    Source:
        The authors' code of Zhou et al. (2024), arXiv:2407.13664 (horvitz-thompson): a rectangle
        mean over ``quantiles + 1``, also where fewer points were kept. Deviations: ties
        averaged; trapezoids where there are fewer rows than parts; an error instead of a
        meaningless number where an effect is not positive.
    """
    check_count("quantiles", quantiles, at_least=1)
    found = RankedRows.of(data, score, estimator).increments()
    return _scan(found, quantiles, straight=len(data) < quantiles)


def aucc(
    data: UpliftData,
    score: Tensor,  # (N,)
    *,
    quantiles: int = 200,
    estimator: PolicyEstimator = "horvitz-thompson",
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> Estimate:
    """Estimate the area under the cost curve, with its bootstrap error.

    Args:
        data: randomised rows with two treatments.
        score: higher is treated earlier; see `roi_score`. Shape ``(N,)``.
        quantiles: as in `cost_curve`.
        estimator: as in `cost_curve`.
        bootstrap: draws, level and seed.

    Returns:
        AUCC, no unit; a random order has 0.5 in expectation.

    Raises:
        UnsupportedProblemError: as `cost_curve`.
        DTypeError: as `cost_curve`.
        ShapeError: as `cost_curve`.
        InvalidValueError: as `cost_curve`, in any draw: then the total effects are too close
            to 0 for an area in units of them. Also if a treatment is too rare to bootstrap.

    Source:
        As `cost_curve`; standard errors are ours.
    """
    check_count("quantiles", quantiles, at_least=1)
    ranked = RankedRows.of(data, score, estimator)
    straight = len(data) < quantiles  # in every draw, also where whole groups make it longer
    area, *draws = (
        _scan(ranked.increments(counts), quantiles, straight=straight).area
        for counts in (None, *redrawn(data, bootstrap))
    )
    return bootstrap.estimate(area, draws, rows_key(data, bootstrap))


def mt_aucc(
    data: UpliftData,
    score: Tensor,  # (N, M - 1)
    *,
    quantiles: int = 20,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> Estimate:
    """Estimate the area under the cost curve of several treatments (MT-AUCC), with its error.

    All steps of all people from one treatment to the next are ranked together. With ``n_t`` the
    rows of treatment t, a row of it adds ``y / n_t`` at the score of the step to t, which it took,
    and takes ``y / n_t`` away at that of the step from t, which it did not; down the ranking that
    sums up to the difference between the last treatment and the first. Points, area and ties are
    those of `cost_curve`, over the steps; with two treatments it is `aucc`.

    Args:
        data: randomised rows, treatments in the order of what they cost.
        score: in column j of the step from treatment j to j + 1, higher is taken earlier; for
            predictions ``roi_score(revenue[:, j : j + 2], cost[:, j : j + 2])``. Shape
            ``(N, M - 1)``.
        quantiles: as in `cost_curve`; the authors' code has 20.
        bootstrap: draws of rows, level and seed.

    Returns:
        MT-AUCC, no unit; a random order has 0.5 in expectation.

    Raises:
        UnsupportedProblemError: if there is one treatment, or the propensity differs between rows.
        DTypeError: if ``score`` is no tensor of real numbers.
        ShapeError: if ``score`` is not ``(N, M - 1)``.
        InvalidValueError: as `aucc`; the effects are those of the last treatment over the first.

    Source:
        Code that is probably, not surely, that of Zhou et al. (2023), arXiv:2211.15728. It
        weights outcomes by ``N / n_t`` and divides by the numbers of rows that took and that did
        not take a step; in equal arms that is the same. Deviation: not divided, since in other
        arms the treatments between would no longer cancel, and two would not have their AUCC.
    """
    check_count("quantiles", quantiles, at_least=1)
    ranked = RankedSteps.of(data, score)
    straight = len(ranked.row) < quantiles
    as_logged = np.ones(len(data), np.int16)
    area, *draws = (
        _scan(ranked.increments(counts), quantiles, straight=straight).area
        for counts in (as_logged, *redrawn(data, bootstrap))
    )
    return bootstrap.estimate(area, draws, rows_key(data, bootstrap))


def true_aucc(truth: PotentialOutcomes, score: Tensor, *, quantiles: int = 200) -> float:
    """Return the area under the cost curve of the true effects, no unit.

    As `cost_curve`, with everybody's expected effects in the place of differences between
    arms; so it has no error of sampling beside that of the people themselves.

    Args:
        truth: expected revenue and cost of everyone under two treatments.
        score: higher is treated earlier; see `roi_score`. Shape ``(N,)``.
        quantiles: as in `cost_curve`.

    Raises:
        UnsupportedProblemError: if there are not two treatments.
        DTypeError: if ``score`` is no tensor of real numbers.
        ShapeError: if ``score`` is not ``(N,)``.
        InvalidValueError: if ``score`` is not finite, ``quantiles`` is below 1, there is nobody,
            or treating everyone does not raise revenue and cost.
    """
    check_count("quantiles", quantiles, at_least=1)
    rows, arms = truth.revenue.shape
    if arms != 2:
        raise UnsupportedProblemError(f"AUCC compares two treatments, got {arms}.")
    score = check_score(score, rows)
    falling, order = (one.numpy() for one in score.sort(descending=True, stable=True))
    tie = np.append(np.flatnonzero(falling[1:] != falling[:-1]) + 1, rows)
    cost, revenue = (
        running((one[:, 1] - one[:, 0]).detach().double().cpu().numpy()[order], tie - 1) / rows
        for one in (truth.cost, truth.revenue)
    )
    found = Increments(np.append(0, tie), cost, revenue)
    return _scan(found, quantiles, straight=rows < quantiles).area


def _scan(found: Increments, quantiles: int, *, straight: bool) -> CostCurve:
    """Pick the points; straight lines between all rows where a mean over parts means nothing."""
    cost, revenue = (found.row_by_row(one) for one in (found.cost, found.revenue))
    for name, total in (("cost", float(cost[-1])), ("revenue", float(revenue[-1]))):
        if not total > 0:
            raise InvalidValueError(
                f"AUCC is undefined: the total {name} effect of treating everyone must be "
                f"positive, got {total:g} per head, and the curve is measured in units of it; "
                "use expected_outcome, or more rows if the true effect is positive."
            )
    if straight:
        under = np.diff(cost) @ (revenue[1:] + revenue[:-1]) / 2
        area = float(under / (cost[-1] * revenue[-1]))
    else:
        picks = [0, *(1 + pick for pick in _picks(cost[1:], quantiles))]
        cost, revenue = cost[picks], revenue[picks]
        area = float(revenue.sum() / (revenue[-1] * (quantiles + 1)))
    return CostCurve(torch.from_numpy(cost), torch.from_numpy(revenue), area)


def _picks(cost: Vector, quantiles: int) -> list[int]:
    """Return the rows at which a point is kept, the last row always being one."""
    last = len(cost) - 1
    goals = np.arange(1, quantiles) * (cost[-1] / quantiles) * (1 - _ROUNDING)
    first = np.searchsorted(np.maximum.accumulate(cost), goals)
    picks: list[int] = []
    previous = -1
    for row, goal in zip(first.tolist(), goals.tolist(), strict=True):
        previous = row if row > previous else _next_at_least(cost, previous + 1, goal)
        if previous >= last:
            break
        picks.append(previous)
    return [*picks, last]


def _next_at_least(cost: Vector, start: int, goal: float) -> int:
    """Return the first row from ``start`` on with cost >= goal; the last row has it."""
    window = _WINDOW
    while start < len(cost):
        reached = cost[start : start + window] >= goal
        offset = int(reached.argmax())
        if reached[offset]:
            return start + offset
        start, window = start + window, 2 * window
    return len(cost) - 1
