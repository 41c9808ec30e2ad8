"""Qini: does a score find the people whose outcome changes most, cost aside?"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.data.uplift_data import UpliftData
from dfl.errors import InvalidValueError
from dfl.metrics.rows.randomised_rows import PolicyEstimator
from dfl.metrics.rows.ranked_rows import Increments, RankedRows
from dfl.metrics.rows.redrawn import redrawn, rows_key
from dfl.stats.bootstrap import DEFAULT_BOOTSTRAP, Bootstrap, Estimate

__all__ = ["Qini", "normalised_qini", "qini"]


@final
@dataclass(frozen=True, eq=False)
class Qini:
    """Incremental revenue against the share of people treated, best score first.

    Args:
        share: share of people treated, from 0 to 1. float64, shape ``(N + 1,)``.
        uplift: incremental revenue per head of everyone, in currency, from 0. float64, shape
            ``(N + 1,)``.
        auuc: area under that curve, in currency per head.
        coefficient: ``auuc - uplift[-1] / 2``, the area above a random order, in currency
            per head; 0 for a random score.
        normalised: ``coefficient / uplift[-1]``, see `normalised_qini`; None where that unit is
            not positive, in the data or in any draw.
    """

    share: Tensor
    uplift: Tensor
    auuc: Estimate
    coefficient: Estimate
    normalised: Estimate | None


def qini(
    data: UpliftData,
    score: Tensor,  # (N,)
    *,
    estimator: PolicyEstimator = "horvitz-thompson",
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> Qini:
    """Estimate the uplift curve, the area under it and the Qini coefficient, with errors.

    ``uplift(k) = sum_{treated, rank <= k} y / n_treated - sum_{untreated, rank <= k} y /
    n_untreated``, joint ranking, sizes of the whole arms; trapezoid area over the share
    ``k / N``. Unnormalised, so that it is a mean of money and its error stays finite.

    Args:
        data: randomised rows with two treatments.
        score: higher is treated earlier; rows of equal score are averaged over all their
            orders, as in `cost_curve`. Shape ``(N,)``.
        estimator: ``"horvitz-thompson"`` is the formula above; ``"doubly-robust"`` takes off
            ``y`` what features predict, as in `cost_curve`.
        bootstrap: draws, level and seed.

    Raises:
        UnsupportedProblemError: if there are not two treatments, or the propensity differs
            between rows.
        DTypeError: if ``score`` is no tensor of real numbers.
        ShapeError: if ``score`` is not ``(N,)``.
        InvalidValueError: if ``score`` is not finite, the rows are observational, the estimator
            is unknown, or a treatment is too rare to bootstrap.

    Source:
        Radcliffe (2007), Using control groups to target on predicted lift; variants:
        Devriendt et al. (2020), doi:10.1109/TKDE.2020.3048510.
    """
    ranked = RankedRows.of(data, score, estimator)
    found = ranked.increments()
    value = _areas(found)
    draws = [_areas(ranked.increments(counts)) for counts in redrawn(data, bootstrap)]
    key = rows_key(data, bootstrap)
    auuc, coefficient = (
        bootstrap.estimate(value[one], [draw[one] for draw in draws], key) for one in (0, 1)
    )
    unit = None
    if all(total > 0 for _, _, total in (value, *draws)):
        ratios = [above / total for _, above, total in draws]
        unit = bootstrap.estimate(value[1] / value[2], ratios, key)
    return Qini(
        share=torch.linspace(0, 1, len(data) + 1, dtype=torch.float64),
        uplift=torch.from_numpy(found.row_by_row(found.revenue)),
        auuc=auuc,
        coefficient=coefficient,
        normalised=unit,
    )


def normalised_qini(
    data: UpliftData,
    score: Tensor,  # (N,)
    *,
    estimator: PolicyEstimator = "horvitz-thompson",
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> Estimate:
    """Estimate the Qini coefficient in units of the effect of treating everyone.

    ``coefficient / uplift[-1]``, as packages that normalise have it: no unit, so that it compares
    between data sets; 0 for a random score. A score that finds all of the effect among the first
    few has 1 / 2, more than that is possible where some are harmed.

    Args:
        data: as in `qini`.
        score: as in `qini`.
        estimator: as in `qini`.
        bootstrap: draws, level and seed.

    Raises:
        UnsupportedProblemError: as `qini`.
        DTypeError: as `qini`.
        ShapeError: as `qini`.
        InvalidValueError: as `qini`; if treating everyone does not raise revenue, in any draw: then
            the effect is too close to 0 to be a unit.

    Source:
        The package CausalML, ``qini_score(normalize=True)``; it divides the whole curve, whose own
        last value is then 1. Deviations: sizes of the whole arms, where it scales the untreated by
        the rows of both arms so far; ties averaged, where it takes them as the file has them; an
        effect below 0 is refused, where it divides by its size.
    """
    found = qini(data, score, estimator=estimator, bootstrap=bootstrap)
    if found.normalised is None:
        raise InvalidValueError(
            "a normalised Qini is undefined: the revenue effect of treating everyone must be "
            f"positive, got {float(found.uplift[-1]):g} per head, and it is the unit, in every "
            "draw of the bootstrap; use qini, or more rows if the true effect is positive."
        )
    return found.normalised


def _areas(found: Increments) -> tuple[float, float, float]:
    """Return area, area above the straight line to the end, and that end."""
    auuc, end = found.area(found.revenue), float(found.revenue[-1])
    return auuc, auuc - end / 2, end
