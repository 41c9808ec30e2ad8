"""`Correction`: what an experiment says about predictions, in few parameters."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, final, get_args

import torch
from torch import Tensor

from dfl.checks import check_choice, check_number
from dfl.models.grounding.basis import Basis
from dfl.models.grounding.evidence import Evidence, noise_variance
from dfl.models.grounding.sparse_bayes import SparseFit, sparse_bayes
from dfl.scale import STREAMED

__all__ = ["Bias", "Correction", "CorrectionForm"]

Bias: TypeAlias = Literal["order", "each"]
"""Whether the logs' own bias follows the order of cost, or each treatment has its own."""

_CAP = 1.5  # a multiplicative correction lies between exp(-1.5) and exp(1.5)
_LINEARISATIONS = 8  # at most; two are enough for small corrections
_SETTLED = 1e-3  # of the mean size of the predictions: the largest change that stops them
_MOST_COLUMNS = 400  # above it features are screened first
_SCREENED = 15  # features that survive


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

    Raises:
        InvalidValueError: if ``add`` is negative or not finite, or ``bias`` is neither word.
    """

    add: float = 2.0
    multiplicative: bool = True
    contrast: bool = True
    bias: Bias = "order"

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
    alone, along the first pattern, the order of cost, or along all; they take up the logs' own
    bias and are thrown away: so the logs help to learn what an experiment alone is too small
    for, and what they get wrong is not served.

    Args:
        basis: ``z`` and ``B``.
        multiply: shape ``(D, Q)``.
        addition: shape ``(D, Q)``.
        stretch: in [-1, 1].
        contrast_mean: mean contrast of each treatment in the experiment. Shape ``(M,)``.
        unit: mean size of the predictions, in currency.
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
    def fit(evidence: Evidence, mean_cost: Tensor, form: CorrectionForm) -> "Correction":
        """Fit a correction.

        Args:
            evidence: rows of the experiment, and of the logs where there are any.
            mean_cost: of each treatment, which gives their order. Shape ``(M,)``.
            form: what it may consist of.
        """
        return _Fitting(evidence, mean_cost, form).run()

    def __call__(self, predicted: Tensor, features: Tensor) -> Tensor:
        """Return corrected outcomes of people, in the dtype of ``predicted``.

        Args:
            predicted: shape ``(N, M)``.
            features: shape ``(N, F)``.
        """
        f, z = predicted.double(), self.basis(features)
        contrast = f - f.mean(dim=1, keepdim=True) - self.contrast_mean
        factor = (z @ self.multiply.T @ self.basis.doses.T).clamp(-_CAP, _CAP).exp()
        added = self.unit * (z @ self.addition.T @ self.basis.doses.T)
        return (f * factor + added + self.stretch * contrast).to(predicted)


@final
class _Fitting:
    """The linearised regressions behind `Correction.fit`.

    A row enters through ``u = [m z, unit z, H]``, where ``m`` is its multiplied prediction and
    ``H`` its contrast; a column of the design is a combination of ``u`` that depends on the
    row's treatment and source alone. So ``sum u u' / v`` and ``sum u e / v`` of each treatment
    and source are enough, and memory does not grow with the rows.
    """

    def __init__(self, evidence: Evidence, mean_cost: Tensor, form: CorrectionForm) -> None:
        cell = evidence.logged.long() * len(mean_cost) + evidence.treatment
        evidence = evidence.rows(cell.argsort(stable=True))  # then a cell's rows lie together
        self._cell_rows = cell.bincount(minlength=2 * len(mean_cost)).tolist()
        self._evidence, self._form = evidence, form
        self._own, self._outcome = evidence.own, evidence.outcome.double()
        self._unit = float(self._own.mean().abs()) + 1e-9
        self._contrast, self._contrast_mean = evidence.contrasts()
        self._sources = 1 + int(evidence.logged.any())
        self._basis = self._screened(Basis.of(evidence.features[~evidence.logged], mean_cost))
        self._designs = self._design()

    def run(self) -> Correction:
        weights = self._own.new_zeros(self._designs.shape[2])
        multiplied, mean = self._expected(weights)
        log_evidence, disagreement = 0.0, None
        for step in range(_LINEARISATIONS):
            variance, power = noise_variance(self._outcome, mean)
            gram, moment = self._moments(multiplied, mean, variance)
            fit = sparse_bayes(gram, moment + gram @ weights, add=self._form.add)
            if step == 0:  # that of later ones belongs to models linearised at different places
                log_evidence = fit.log_evidence
                disagreement = self._disagreement(gram, moment, fit)
            weights, before = fit.weights, mean
            multiplied, mean = self._expected(weights)
            if float((mean - before).abs().max()) <= _SETTLED * self._unit:
                break
        return self._correction(fit, power, log_evidence, disagreement)

    def _disagreement(self, gram: Tensor, moment: Tensor, fit: SparseFit) -> float | None:
        """Hold the fit against one without the columns of the logs' own bias."""
        if self._sources == 1:
            return None
        serving = 2 * self._basis.doses.shape[1] * len(self._basis.keep) + 1
        common = sparse_bayes(gram[:serving, :serving], moment[:serving], add=self._form.add)
        return 2 * (fit.log_evidence - common.log_evidence)

    def _correction(
        self, fit: SparseFit, power: float, log_evidence: float, disagreement: float | None
    ) -> Correction:
        shape = (self._basis.doses.shape[1], len(self._basis.keep))
        size = shape[0] * shape[1]
        return Correction(
            basis=self._basis,
            multiply=fit.weights[:size].reshape(shape),
            addition=fit.weights[size : 2 * size].reshape(shape),
            stretch=float(fit.weights[2 * size].clamp(-1, 1)),
            contrast_mean=self._contrast_mean,
            unit=self._unit,
            noise_power=power,
            effective=float(fit.share[: 2 * size + 1].sum()),
            log_evidence=log_evidence,
            disagreement=disagreement,
        )

    def _design(self) -> Tensor:
        """Return how columns combine ``u``, for each source and treatment: ``(S, M, p, 2Q + 1)``.

        Columns that the form rules out are zero, and no evidence ever asks for them.
        """
        serving = self._combinations(self._basis.doses)
        if self._sources == 1:
            return serving[None]
        doses = self._basis.doses
        bias = self._combinations(doses if self._form.bias == "each" else doses[:, :1])
        experiment = torch.cat([serving, torch.zeros_like(bias)], dim=1)
        return torch.stack([experiment, torch.cat([serving, bias], dim=1)])

    def _combinations(self, patterns: Tensor) -> Tensor:
        """Return the columns of patterns ``(M, D)`` in terms of ``u``: ``(M, 2DQ + 1, 2Q + 1)``."""
        width = len(self._basis.keep)
        arms, count = patterns.shape
        block = torch.einsum("jd,qr->jdqr", patterns, torch.eye(width).to(patterns))
        block = block.reshape(arms, count * width, width)
        combined = patterns.new_zeros(arms, 2 * count * width + 1, 2 * width + 1)
        combined[:, : count * width, :width] = block * self._form.multiplicative
        combined[:, count * width : -1, width:-1] = block
        combined[:, -1, -1] = self._form.contrast
        return combined

    def _expected(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the multiplied prediction and the corrected mean of each row ``(N,)``."""
        table = torch.einsum("sjpu,p->sju", self._designs, weights)
        multiplied, mean = torch.empty_like(self._own), torch.empty_like(self._own)
        width = len(self._basis.keep)
        for source, arm, rows in self._cells():
            z, own = self._basis(self._evidence.features[rows]), table[source, arm]
            power = (z @ own[:width]).clamp(-_CAP, _CAP)
            multiplied[rows] = self._own[rows] * power.exp()
            added = self._unit * (z @ own[width:-1])
            mean[rows] = multiplied[rows] + added + own[-1] * self._contrast[rows]
        return multiplied, mean

    def _moments(self, multiplied: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weighted Gram matrix of the design and its product with the residuals."""
        columns = self._designs.shape[2]
        gram, moment = mean.new_zeros(columns, columns), mean.new_zeros(columns)
        precision = variance.rsqrt()
        error = (self._outcome - mean) * precision
        parts = [part * precision for part in (multiplied, self._unit, self._contrast)]
        for source, arm, rows in self._cells():
            z = self._basis(self._evidence.features[rows])
            first, second, contrast = (part[rows, None] for part in parts)
            u = torch.cat([first * z, second * z, contrast], dim=1)
            design = self._designs[source, arm]
            gram += design @ (u.T @ u) @ design.T
            moment += design @ (u.T @ error[rows])
        return gram, moment

    def _cells(self) -> Iterator[tuple[int, int, slice]]:
        """Yield source and treatment with some of their rows, as many as fit the memory."""
        arms, start = len(self._cell_rows) // 2, 0
        for number, count in enumerate(self._cell_rows):
            for rows in STREAMED.of(count):
                yield number // arms, number % arms, slice(start + rows.start, start + rows.stop)
            start += count

    def _screened(self, basis: Basis) -> Basis:
        """Return the basis, or where it is too wide its intercept and best features alone.

        A feature is judged by the largest score statistic of its columns: how far the
        predictions' errors follow it, among rows of the experiment or of the logs.
        """
        # One pattern of bias, whatever the form's, so that all forms keep the same features.
        patterns = basis.doses.shape[1] + (self._sources == 2)
        if 2 * patterns * len(basis.keep) <= _MOST_COLUMNS:
            return basis
        variance, _ = noise_variance(self._outcome, self._own)
        error = (self._outcome - self._own) / variance
        arms, width = basis.doses.shape[0], len(basis.keep)
        slope = error.new_zeros(2, 2, arms, width)  # factor, source, treatment, column of z
        curve = torch.zeros_like(slope)
        for source, arm, rows in self._cells():
            z = basis(self._evidence.features[rows])
            for place, factor in enumerate((self._own[rows], torch.ones_like(self._own[rows]))):
                slope[place, source, arm] += (factor * error[rows]) @ z
                curve[place, source, arm] += (factor.square() / variance[rows]) @ z.square()
        first = torch.einsum("fsjq,jd->fsdq", slope, basis.doses)
        second = torch.einsum("fsjq,jd->fsdq", curve, basis.doses.square())
        score = (first.square() / second.clamp(min=1e-12)).amax(dim=(0, 1, 2))
        best = score[1:].topk(min(_SCREENED, width - 1)).indices + 1
        return basis.only(torch.cat([best.new_zeros(1), best.sort().values]))
