"""`sparse_bayes`: linear regression that keeps the few columns the evidence asks for."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.checks import check_number

__all__ = ["SparseFit", "sparse_bayes"]

_TINY = 1e-10  # columns of smaller squared length, relative to the largest, are left out


@final
@dataclass(frozen=True, eq=False)
class SparseFit:
    """A sparse posterior.

    Args:
        weights: posterior mean, 0 for columns left out. Shape ``(p,)``.
        variance: posterior variance, 0 for columns left out. Shape ``(p,)``.
        share: how far the data, not the prior, determine a weight: ``1 - alpha_k Sigma_kk``, in
            [0, 1], 0 for columns left out. Their sum is the effective number of parameters.
            Shape ``(p,)``.
        log_evidence: log evidence gained over the empty set of columns, >= 0.
    """

    weights: Tensor
    variance: Tensor
    share: Tensor
    log_evidence: float

    @property
    def kept(self) -> Tensor:
        """Places of the columns kept, ascending."""
        return self.variance.nonzero().squeeze(1)


def sparse_bayes(
    gram: Tensor, moment: Tensor, *, add: float, stop: float = 0.02, max_steps: int = 400
) -> SparseFit:
    """Maximise the evidence of ``y = X w + e`` over one prior precision per weight.

    ``w_k ~ N(0, 1 / alpha_k)``, ``e ~ N(0, V)``, ``V`` known; a column whose best ``alpha`` is
    infinite is left out. Starts from the empty set; each step takes the one change, adding,
    leaving out or estimating anew a column, that raises the log evidence most.

    Args:
        gram: ``X' V^-1 X``, float64. Shape ``(p, p)``.
        moment: ``X' V^-1 y``, float64. Shape ``(p,)``.
        add: a column is added only if the log evidence rises by as much, >= 0: chance alone
            finds a rise of .5 or more among many columns.
        stop: no change that raises the log evidence by less is made, > 0.
        max_steps: changes at most; the posterior of the last one is returned.

    Returns:
        The posterior of the columns kept.

    Raises:
        InvalidValueError: if ``add`` or ``stop`` is out of range.

    Source:
        Tipping and Faul (2003), Fast marginal likelihood maximisation for sparse Bayesian
        models, AISTATS. Deviations: the noise is known; ``add``.
    """
    check_number("add", add, at_least=0)
    check_number("stop", stop, above=0)
    path = _Path(gram, moment)
    for _ in range(max_steps):
        gains, best = path.gains()
        gains = torch.where(~path.active & (gains < add), -torch.inf, gains)
        column = int(gains.argmax())
        if not gains[column] >= stop:
            break
        path.set(column, best[column], float(gains[column]))
    return path.fit()


@final
class _Path:
    """The set of active columns, and how the evidence depends on each column alone."""

    def __init__(self, gram: Tensor, moment: Tensor) -> None:
        self._gram, self._moment = gram, moment
        self._length = gram.diagonal()
        self._usable = self._length > _TINY * self._length.max()
        self._alpha = torch.full_like(moment, torch.inf)
        self._mean, self._covariance = moment[:0], gram[:0, :0]
        self._log_evidence = 0.0

    @property
    def active(self) -> Tensor:
        return self._alpha.isfinite()

    def gains(self) -> tuple[Tensor, Tensor]:
        """Return the rise of the log evidence by each column's best change, and its alpha.

        With the other columns as they are, the evidence depends on ``alpha_k`` through
        ``sparsity s`` and ``quality q``: it is largest at ``s^2 / (q^2 - s)`` where
        ``q^2 > s``, else at infinity.
        """
        places = self.active.nonzero().squeeze(1)
        across = self._gram[:, places]
        s = self._length - (across @ self._covariance * across).sum(dim=1)
        q = self._moment - across @ self._mean
        ratio = torch.ones_like(s)
        alpha = self._alpha[places]
        ratio[places] = alpha / (alpha - s[places]).clamp(min=1e-9 * alpha)
        sparsity, quality = s * ratio, q * ratio
        excess = quality.square() - sparsity
        best = torch.where(excess > 0, sparsity.square() / excess, torch.inf)
        gains = _term(sparsity, quality, best) - _term(sparsity, quality, self._alpha)
        return torch.where(self._usable, gains, -torch.inf), best

    def set(self, column: int, alpha: Tensor, gain: float) -> None:
        """Give one column its precision; infinity leaves it out."""
        self._alpha[column] = alpha
        self._log_evidence += gain
        places = self.active.nonzero().squeeze(1)
        precision = self._gram[places][:, places] + torch.diag(self._alpha[places])
        # Not torch.linalg.inv: batched LU is to be avoided, and the matrix is positive definite.
        self._covariance = torch.cholesky_inverse(torch.linalg.cholesky(precision))
        self._mean = self._covariance @ self._moment[places]

    def fit(self) -> SparseFit:
        places = self.active.nonzero().squeeze(1)
        weights, variance, share = (torch.zeros_like(self._moment) for _ in range(3))
        weights[places], variance[places] = self._mean, self._covariance.diagonal()
        share[places] = 1 - self._alpha[places] * variance[places]
        return SparseFit(weights, variance, share, self._log_evidence)


def _term(sparsity: Tensor, quality: Tensor, alpha: Tensor) -> Tensor:
    """Return the part of the log evidence that depends on ``alpha``; 0 where it is infinite."""
    finite = torch.where(alpha.isfinite(), alpha, 1.0)
    term = 0.5 * (finite.log() - (finite + sparsity).log() + quality.square() / (finite + sparsity))
    return torch.where(alpha.isfinite(), term, 0.0)
