"""`Correction`: what an experiment says about predictions, in few parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final, get_args

import torch
from torch import Tensor

from dfl.checks import check_choice, check_number
from dfl.models.grounding.basis import Basis
from dfl.models.grounding.cells import CAP, Cells, Moments
from dfl.models.grounding.evidence import Evidence
from dfl.models.grounding.sparse_bayes import SparseFit, sparse_bayes

__all__ = ["Bias", "Correction", "CorrectionForm"]

Bias: TypeAlias = Literal["order", "each"]
"""Whether the logs' own bias follows the order of cost, or each treatment has its own; beside the
level, which it always may shift."""

_LINEARISATIONS = 4  # at most; two are enough for small corrections
_SETTLED = 1e-3  # of the mean size of the predictions: the largest change that stops them


@final
@dataclass(frozen=True, kw_only=True)
class CorrectionForm:
    """What a correction may consist of, and how much evidence a term needs.

    Args:
        add: rise of the log evidence that a term must bring, >= 0.
        multiplicative: whether predictions may be multiplied, or added to alone.
        contrast: whether the predicted differences between treatments may be stretched.
        bias: ``"order"``: the logs' own bias follows the order of cost, which takes fewest terms;
            ``"each"``: every treatment may have its own as well.
        level: whether predictions of all treatments may be multiplied alike, which stretches
            their differences; with ``multiplicative``.

    Raises:
        InvalidValueError: if ``add`` is negative or not finite, or ``bias`` is neither word.
    """

    add: float = 2.0
    multiplicative: bool = True
    contrast: bool = True
    bias: Bias = "order"
    level: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_number("add", self.add, at_least=0)
        check_choice("bias", self.bias, get_args(Bias))


@final
@dataclass(frozen=True, eq=False)
class Correction:
    """A fitted correction of one outcome.

    ``corrected_j = f_j exp(clip(z' multiply B_j, +-1.5)) + unit z' addition B_j + stretch
    (contrast_j - mean contrast_j)`` for predictions ``f``, basis ``z(x)`` and patterns over the
    treatments ``B``. It was fitted together with terms of the same kind for rows of the logs
    alone, along the order of cost and the level, or along all; they take up the logs' own
    bias and are thrown away: so the logs help to learn what an experiment alone is too small
    for, and what they get wrong is not served.

    Args:
        basis: ``z`` and ``B``.
        multiply: shape ``(D, Q)``.
        addition: shape ``(D, Q)``.
        stretch: in [-1, 1].
        contrast_mean: mean contrast of each treatment in the experiment. Shape ``(M,)``.
        unit: mean size of the predictions, in currency, with the sign of their mean.
        noise_power: exponent of the noise, see `noise_variance`.
        effective: effective number of parameters that serve.
        log_evidence: gained over no correction, bias of the logs included.
        disagreement: twice the log evidence of logs that are biased on their own, over logs and
            experiment that call for one correction; None without logs.

    Source:
        Our own; the idea of experimental grounding is that of Kallus, Puli and Shalit (2018),
        arXiv:1810.11646, the fit that of Tipping and Faul (2003).
    """

    basis: Basis
    multiply: Tensor
    addition: Tensor
    stretch: float
    contrast_mean: Tensor
    unit: float
    noise_power: float
    effective: float
    log_evidence: float
    disagreement: float | None

    @staticmethod
    def fit(
        evidence: Evidence, mean_cost: Tensor, forms: Sequence[CorrectionForm]
    ) -> tuple["Correction", ...]:
        """Fit corrections of several forms to the same rows, each as if it were alone.

        Args:
            evidence: rows of the experiment, and of the logs where there are any.
            mean_cost: of each treatment, which gives their order. Shape ``(M,)``.
            forms: what each may consist of.
        """
        cells = Cells.of(evidence, mean_cost)
        return tuple(_Fitting(cells, form).run() for form in forms)

    def __call__(self, predicted: Tensor, features: Tensor) -> Tensor:
        """Return corrected outcomes of people, in the dtype of ``predicted``.

        Args:
            predicted: shape ``(N, M)``.
            features: shape ``(N, F)``.
        """
        f, z = predicted.double(), self.basis(features)
        contrast = f - f.mean(dim=1, keepdim=True) - self.contrast_mean
        factor = (z @ self.multiply.T @ self.basis.doses.T).clamp(-CAP, CAP).exp()
        added = self.unit * (z @ self.addition.T @ self.basis.doses.T)
        return (f * factor + added + self.stretch * contrast).to(predicted)


@final
class _Fitting:
    """The linearised regressions behind `Correction.fit`.

    A column of the design is one number of a row's ``u``, see `Moments`, times a pattern over
    sources and treatments, so that sums over the rows of each cell are enough: doses, and 1 for
    the contrast; for rows of the logs alone their own doses and 1 again.
    """

    def __init__(self, cells: Cells, form: CorrectionForm) -> None:
        self._cells, self._form = cells, form
        doses, logged = cells.basis.doses, cells.source[:, None].to(cells.own)
        bias = doses if form.bias == "each" else doses[:, [0, -1]]
        one = torch.ones_like(logged)
        serving, own = doses[cells.treatment], bias[cells.treatment]
        self._doses = doses.shape[1]
        self._patterns = torch.cat([serving, one, own * logged, logged], dim=1)  # (C, P)
        columns = self._columns(0, self._doses)
        self._serving = len(columns)
        if bool(logged.any()):
            columns += self._columns(self._doses + 1, bias.shape[1])
        self._chosen = torch.tensor(columns, device=doses.device)

    def _columns(self, first: int, doses: int) -> list[int]:
        """Return the places of columns in ``(P, 2Q + 1)`` that the form allows: doses, then 1.

        The last of the doses is the level.
        """
        width = len(self._cells.basis.keep)
        size = 2 * width + 1
        starts = [size * pattern for pattern in range(first, first + doses)]
        stretched = starts if self._form.level else starts[:-1]
        multiplied = [start + place for start in stretched for place in range(width)]
        added = [start + place for start in starts for place in range(width, 2 * width)]
        stretch = [size * (first + doses) + 2 * width]
        return multiplied * self._form.multiplicative + added + stretch * self._form.contrast

    def run(self) -> Correction:
        cells, moments = self._cells, self._cells.start
        weights = cells.own.new_zeros(len(self._chosen))
        log_evidence, disagreement = 0.0, None
        for step in range(_LINEARISATIONS):
            gram, moment = self._of_columns(moments)
            fit = sparse_bayes(gram, moment + gram @ weights, add=self._form.add)
            if step == 0:  # that of later ones belongs to models linearised at different places
                log_evidence = fit.log_evidence
                disagreement = self._disagreement(gram, moment, fit)
            weights = fit.weights
            place = cells.expected(self._patterns @ self._table(weights))
            change = float((place.mean - moments.mean).abs().max())
            if change <= _SETTLED * abs(cells.unit) or step == _LINEARISATIONS - 1:
                break
            moments = cells.moments(place)
        return self._correction(fit, moments.noise_power, log_evidence, disagreement)

    def _of_columns(self, moments: Moments) -> tuple[Tensor, Tensor]:
        """Return the Gram matrix of the design's columns, and their product with the residuals."""
        patterns, size = self._patterns, moments.moment.shape[1]
        number = patterns.shape[1]
        pairs = (patterns[:, :, None] * patterns[:, None]).reshape(len(patterns), -1)
        gram = (pairs.T @ moments.gram.reshape(len(patterns), -1)).reshape(
            number, number, size, size
        )
        gram = gram.transpose(1, 2).reshape(number * size, number * size)
        moment = (patterns.T @ moments.moment).reshape(-1)
        return gram[self._chosen][:, self._chosen], moment[self._chosen]

    def _table(self, weights: Tensor) -> Tensor:
        """Return the weights of ``u``'s numbers under every pattern: ``(P, 2Q + 1)``."""
        size = 2 * len(self._cells.basis.keep) + 1
        table = weights.new_zeros(self._patterns.shape[1] * size)
        table[self._chosen] = weights
        return table.reshape(-1, size)

    def _disagreement(self, gram: Tensor, moment: Tensor, fit: SparseFit) -> float | None:
        """Hold the fit against one without the columns of the logs' own bias."""
        if self._serving == len(moment):
            return None
        own = slice(self._serving)
        common = sparse_bayes(gram[own, own], moment[own], add=self._form.add)
        return 2 * (fit.log_evidence - common.log_evidence)

    def _correction(
        self, fit: SparseFit, power: float, log_evidence: float, disagreement: float | None
    ) -> Correction:
        cells, table = self._cells, self._table(fit.weights)
        width = len(cells.basis.keep)
        return Correction(
            basis=cells.basis,
            multiply=table[: self._doses, :width].clone(),
            addition=table[: self._doses, width:-1].clone(),
            stretch=float(table[self._doses, -1].clamp(-1, 1)),
            contrast_mean=cells.contrast_mean,
            unit=cells.unit,
            noise_power=power,
            effective=float(fit.share[: self._serving].sum()),
            log_evidence=log_evidence,
            disagreement=disagreement,
        )
