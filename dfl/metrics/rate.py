"""RATE: how much more those ranked first gain than everybody does."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, final, get_args

import numpy as np
import torch
from torch import Tensor

from dfl.checks import check_choice
from dfl.data.uplift_data import UpliftData
from dfl.errors import UnsupportedProblemError
from dfl.metrics.rows.randomised_rows import RandomisedRows, check_data, check_score
from dfl.metrics.rows.redrawn import redrawn, rows_key
from dfl.stats.arrays import Counts, Integers, Vector
from dfl.stats.bootstrap import DEFAULT_BOOTSTRAP, Bootstrap, Estimate

__all__ = ["Rate", "RateWeighting", "rate"]

RateWeighting: TypeAlias = Literal["autoc", "qini"]


@final
@dataclass(frozen=True, eq=False)
class Rate:
    """The curve of targeted gains and its weighted area.

    Args:
        share: share of people treated, best score first. float64, shape ``(N,)``.
        toc: what treating them gains per head of them, more than treating everyone gains per
            head, in currency. float64, shape ``(N,)``, the last 0.
        estimate: ``autoc``: mean of `toc` over the share; ``qini``: mean of ``share * toc``.
            In currency per head; 0 for a score that says nothing.
    """

    share: Tensor
    toc: Tensor
    estimate: Estimate


def rate(
    data: UpliftData,
    score: Tensor,  # (N,)
    *,
    weighting: RateWeighting = "autoc",
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> Rate:
    """Estimate the rank-weighted average treatment effect of a score.

    Each person's gain is the doubly robust one, so propensities may differ between rows and a
    constant added to all revenue does not matter. Rows of equal score are averaged over all
    their orders.

    Args:
        data: rows with two treatments, randomised or of known propensity.
        score: higher is treated earlier. Shape ``(N,)``.
        weighting: ``"autoc"`` looks at the first above all, ``"qini"`` at all alike.
        bootstrap: draws, level and seed.

    Raises:
        UnsupportedProblemError: if there are not two treatments.
        DTypeError: if ``score`` is no tensor of real numbers.
        ShapeError: if ``score`` is not ``(N,)``.
        InvalidValueError: if ``score`` is not finite, the weighting is unknown, the rows are
            observational and carry no propensity, or a treatment is too rare to bootstrap.

    Source:
        Yadlowsky, Fleming, Shah, Brunskill and Wager (2025), arXiv:2111.07966. Deviations: ties
        averaged in closed form; bootstrap of all rows instead of half-samples.
    """
    check_choice("weighting", weighting, get_args(RateWeighting))
    check_data(data)
    if data.treatments != 2:
        raise UnsupportedProblemError(
            f"RATE compares two treatments, got {data.treatments}; use gain_curve, or keep the "
            "rows of two treatments."
        )
    ranked = _Ranked.of(data, check_score(score, len(data)))
    as_logged = ranked.toc(ranked.rows.as_logged())
    draws = [_area(ranked.toc(counts), weighting) for counts in redrawn(data, bootstrap)]
    value = _area(as_logged, weighting)
    return Rate(
        torch.linspace(0, 1, len(data) + 1, dtype=torch.float64)[1:],
        torch.from_numpy(as_logged),
        bootstrap.estimate(value, draws, rows_key(data, bootstrap)),
    )


@final
@dataclass(frozen=True, eq=False)
class _Ranked:
    """Rows by falling score; ``tie`` counts the people up to the end of each tie."""

    rows: RandomisedRows
    order: Integers
    tie: Integers

    @classmethod
    def of(cls, data: UpliftData, score: Tensor) -> "_Ranked":
        falling, order = (one.numpy() for one in score.sort(descending=True, stable=True))
        tie = np.append(np.flatnonzero(falling[1:] != falling[:-1]) + 1, len(falling))
        return cls(RandomisedRows.of(data), order, tie)

    def toc(self, counts: Counts) -> Vector:
        """Return the curve after every person drawn, shape ``(people,)``."""
        rows, times = self.rows, counts.astype(np.float64)
        own = (times.sum() * rows.scale(counts))[rows.treatment] * rows.missed[1]
        gain = rows.baseline[1, :, 1] - rows.baseline[1, :, 0]
        gain = gain + np.where(rows.treatment == 1, own, -own)
        times, gain = times[self.order], gain[self.order]
        people = np.append(0, np.cumsum(times)[self.tie - 1]).astype(np.int64)
        total = np.append(0.0, np.cumsum(times * gain)[self.tie - 1])
        drawn = np.append(True, people[1:] > people[:-1])
        number = np.arange(1, people[-1] + 1)
        running: Vector = np.interp(number, people[drawn], total[drawn]) / number
        curve: Vector = running - running[-1]
        return curve


def _area(toc: Vector, weighting: RateWeighting) -> float:
    if weighting == "autoc":
        return float(toc.mean())
    return float(toc @ np.arange(1, len(toc) + 1)) / len(toc) ** 2
