"""`Cells`: rows of the evidence by source and treatment, and what a linear fit sums over them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, final

import torch
from torch import Tensor

from dfl.models.grounding.basis import Basis
from dfl.models.grounding.evidence import Evidence, noise_variance
from dfl.scale import CACHED

__all__ = ["CAP", "Cells", "Expected", "Moments"]

CAP = 1.5
"""A multiplicative correction lies between exp(-1.5) and exp(1.5)."""

_MOST_COLUMNS = 400  # above it features are screened first
_SCREENED = 15  # features that survive


class Expected(NamedTuple):
    """What a correction expects of each row; the place of a linearisation. Each ``(N,)``.

    Args:
        multiplied: prediction, multiplied.
        mean: outcome.
        beyond: what the weights' straight line adds to the mean beyond the cap.
    """

    multiplied: Tensor
    mean: Tensor
    beyond: Tensor


@final
@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over the rows of each cell, in units of the noise.

    A row enters as ``u = [m z, unit z, H]``: basis times multiplied prediction, basis times the
    mean size of predictions, contrast. ``e`` is its outcome less its expected mean, ``v`` the
    variance of its noise.

    Args:
        mean: expected outcome of each row. Shape ``(N,)``.
        noise_power: exponent of the noise, see `noise_variance`.
        gram: ``sum u u' / v``. Shape ``(C, 2Q + 1, 2Q + 1)``.
        moment: ``sum u e / v``. Shape ``(C, 2Q + 1)``.
    """

    mean: Tensor
    noise_power: float
    gram: Tensor
    moment: Tensor


@final
@dataclass(frozen=True, eq=False)
class Cells:
    """Rows of the evidence, those of one source and treatment side by side.

    Args:
        basis: ``z``, screened where it would be too wide.
        z: of every row, a column each, so that sums run along the rows. Shape ``(Q, N)``.
        own: prediction for the treatment received. Shape ``(N,)``.
        outcome: observed. Shape ``(N,)``.
        contrast: of the treatment received. Shape ``(N,)``.
        contrast_mean: mean contrast of each treatment in the experiment. Shape ``(M,)``.
        unit: mean size of the predictions, in currency, with the sign of their mean.
        source: of each cell that has rows, 0 for the experiment, 1 for logs. Shape ``(C,)``.
        treatment: of each cell. Shape ``(C,)``.
        rows: of each cell.
    """

    basis: Basis
    z: Tensor
    own: Tensor
    outcome: Tensor
    contrast: Tensor
    contrast_mean: Tensor
    unit: float
    source: Tensor
    treatment: Tensor
    rows: tuple[slice, ...]

    @staticmethod
    def of(evidence: Evidence, mean_cost: Tensor) -> "Cells":
        """Sort the rows, and evaluate the basis on them.

        Args:
            evidence: rows of the experiment, and of the logs where there are any.
            mean_cost: of each treatment, which gives their order. Shape ``(M,)``.
        """
        arms = len(mean_cost)
        cell = evidence.logged.long() * arms + evidence.treatment
        evidence = evidence.rows(cell.argsort(stable=True))
        count = cell.bincount(minlength=2 * arms)
        number, count = count.nonzero().squeeze(1), count[count > 0]
        ends = count.cumsum(0).tolist()
        rows = tuple(slice(start, end) for start, end in zip([0, *ends], ends, strict=False))
        own, outcome = evidence.own, evidence.outcome.double()
        basis = Basis.of(evidence.features[~evidence.logged], mean_cost)
        numbered = [*zip(number.tolist(), rows, strict=True)]
        screened = _screened(basis, evidence.features, own, outcome, numbered)
        z = own.new_empty(len(screened.keep), len(own))
        for part in CACHED.of(*z.T.shape):
            z[:, part] = screened(evidence.features[part]).T
        contrast, contrast_mean = evidence.contrasts()
        unit = math.copysign(float(own.abs().mean()) + 1e-9, float(own.mean()))
        return Cells(
            basis=screened,
            z=z,
            own=own,
            outcome=outcome,
            contrast=contrast,
            contrast_mean=contrast_mean,
            unit=unit,
            source=number // arms,
            treatment=number % arms,
            rows=rows,
        )

    @cached_property
    def start(self) -> Moments:
        """Moments before anything is corrected."""
        return self.moments(Expected(self.own, self.own, torch.zeros_like(self.own)))

    def expected(self, weights: Tensor) -> Expected:
        """Return what a correction expects of each row.

        Args:
            weights: of ``u``'s numbers, the first in the exponent. Shape ``(C, 2Q + 1)``.
        """
        power, added, stretch = (torch.empty_like(self.own) for _ in range(3))
        width = len(self.basis.keep)
        for own, rows in zip(weights, self.rows, strict=True):
            power[rows] = own[:width] @ self.z[:, rows]
            added[rows] = own[width:-1] @ self.z[:, rows]
            stretch[rows] = own[-1]
        capped = power.clamp(-CAP, CAP)
        beyond = power.sub_(capped)
        multiplied = capped.exp_().mul_(self.own)
        mean = added.mul_(self.unit).add_(multiplied).addcmul_(stretch, self.contrast)
        return Expected(multiplied, mean, beyond.mul_(multiplied))

    def moments(self, place: Expected) -> Moments:
        """Return the sums that a linear fit around a corrected mean needs.

        The line through the mean starts at the capped power, not at that of the weights: else a
        power beyond the cap, which moves no mean, would look like one that has settled.
        """
        multiplied, mean, beyond = place
        variance, power = noise_variance(self.outcome, mean)
        precision = variance.rsqrt()
        first, second = multiplied * precision, self.unit * precision
        contrast = self.contrast * precision
        error = (self.outcome - mean - beyond) * precision
        squares = torch.stack([first * first, first * second, second * second])
        sides = torch.stack([first * contrast, second * contrast, first * error, second * error])
        last = torch.stack([contrast * contrast, contrast * error])
        width = len(self.basis.keep)
        gram = mean.new_empty(len(self.rows), 2 * width + 1, 2 * width + 1)
        moment = mean.new_empty(len(self.rows), 2 * width + 1)
        for u, own, rows in zip(gram, moment, self.rows, strict=True):
            top, middle, bottom = self._squares(rows, squares[:, rows])
            u[:width, :width], u[width:-1, width:-1] = top, bottom
            u[:width, width:-1] = u[width:-1, :width] = middle
            side = (sides[:, rows] @ self.z[:, rows].T).reshape(2, 2 * width)
            end = last[:, rows].sum(dim=1)
            u[-1, :-1] = u[:-1, -1] = side[0]
            u[-1, -1] = end[0]
            own[:-1], own[-1] = side[1], end[1]
        return Moments(mean, power, gram, moment)

    def _squares(self, rows: slice, weights: Tensor) -> Tensor:
        """Return ``sum w z z'`` over the rows of a cell for each weight ``(W, n)``: (W, Q, Q)."""
        z, (count, number) = self.z[:, rows], weights.shape
        total = z.new_zeros(count * len(z), len(z))
        for part in CACHED.of(number, len(total)):
            weighted = z[:, part] * weights[:, None, part]
            total.addmm_(weighted.reshape(len(total), -1), z[:, part].T)
        return total.reshape(count, len(z), len(z))


def _screened(
    basis: Basis,
    features: Tensor,
    own: Tensor,
    outcome: Tensor,
    cells: Sequence[tuple[int, slice]],
) -> Basis:
    """Return the basis, or where it is too wide its intercept and best features alone.

    A feature is judged by the largest score statistic of its columns: how far the predictions'
    errors follow it, among rows of the experiment or of the logs.

    Args:
        basis: with all columns.
        features: shape ``(N, F)``.
        own: prediction for the treatment received. Shape ``(N,)``.
        outcome: observed. Shape ``(N,)``.
        cells: number of each, source times treatments plus treatment, and its rows.
    """
    doses, width = basis.doses, len(basis.keep)
    arms, logged = len(doses), cells[-1][0] >= len(doses)
    # One pattern of bias, whatever the form's, so that all forms keep the same features.
    if 2 * (doses.shape[1] + logged) * width <= _MOST_COLUMNS:
        return basis
    variance, _ = noise_variance(outcome, own)
    error = (outcome - own) / variance
    factors = torch.stack([own, own.abs().mean().expand_as(own)])  # both in currency
    slope = error.new_zeros(2 * arms, 2, width)  # source and treatment, factor, column of z
    curve = torch.zeros_like(slope)
    for number, cell in cells:
        for part in CACHED.of(cell.stop - cell.start, width):
            rows = slice(cell.start + part.start, cell.start + part.stop)
            z = basis(features[rows])
            slope[number] += (factors[:, rows] * error[rows]) @ z
            curve[number] += (factors[:, rows].square() / variance[rows]) @ z.square()
    slope, curve = (one.reshape(2, arms, 2, width) for one in (slope, curve))
    first = torch.einsum("sjfq,jd->sfdq", slope, doses)
    second = torch.einsum("sjfq,jd->sfdq", curve, doses.square())
    score = (first.square() / second.clamp(min=1e-12)).amax(dim=(0, 1, 2))
    best = score[1:].topk(min(_SCREENED, width - 1)).indices + 1
    return basis.only(torch.cat([best.new_zeros(1), best.sort().values]))
