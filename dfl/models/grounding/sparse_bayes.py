"""`sparse_bayes`: linear regression that keeps the few columns the evidence asks for."""

from dataclasses import dataclass
from typing import final

import numpy as np
import scipy
import torch
from torch import Tensor

from dfl.checks import check_number
from dfl.stats.arrays import Booleans, Matrix, Vector

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
    path = _Path(gram.cpu().numpy(), moment.cpu().numpy())
    for _ in range(max_steps):
        gains, best = path.gains()
        gains[~path.active & (gains < add)] = -np.inf
        column = int(gains.argmax())
        if not gains[column] >= stop:
            break
        path.set(column, float(best[column]), float(gains[column]))
    return path.fit(moment)


@final
class _Path:
    """The set of active columns, and how the evidence depends on each column alone.

    In NumPy: hundreds of small steps, each of which a device would be asked about.
    """

    def __init__(self, gram: Matrix, moment: Vector) -> None:
        self._gram, self._moment = gram, moment
        self._length = gram.diagonal()
        self._usable = self._length > _TINY * self._length.max()
        self._alpha = np.full_like(moment, np.inf)
        self._mean, self._covariance = moment[:0], gram[:0, :0]
        self._log_evidence = 0.0

    @property
    def active(self) -> Booleans:
        found: Booleans = np.isfinite(self._alpha)
        return found

    def gains(self) -> tuple[Vector, Vector]:
        """Return the rise of the log evidence by each column's best change, and its alpha.

        With the other columns as they are, the evidence depends on ``alpha_k`` through
        ``sparsity s`` and ``quality q``: it is largest at ``s^2 / (q^2 - s)`` where
        ``q^2 > s``, else at infinity.
        """
        places = np.flatnonzero(self.active)
        across = self._gram[:, places]
        s = self._length - ((across @ self._covariance) * across).sum(axis=1)
        lost = ~(self._usable & (s > 0))  # not positive: rounding is all that is left of it
        s[lost] = 1.0
        q = self._moment - across @ self._mean
        alpha = self._alpha[places]
        ratio = alpha / np.maximum(alpha - s[places], 1e-9 * alpha)
        s[places] *= ratio
        q[places] *= ratio
        excess = q**2 - s
        best = np.divide(s**2, excess, out=np.full_like(s, np.inf), where=excess > 0)
        gains = _term(s, q, best)
        gains[places] -= _term(s[places], q[places], alpha)
        gains[lost] = -np.inf
        return gains, best

    def set(self, column: int, alpha: float, gain: float) -> None:
        """Give one column its precision; infinity leaves it out."""
        before, self._alpha[column] = self._alpha[column], alpha
        places = np.flatnonzero(self.active)
        precision = self._gram[np.ix_(places, places)]
        precision.flat[:: len(places) + 1] += self._alpha[places]
        factor, failed = scipy.linalg.lapack.dpotrf(precision, lower=1)
        if failed:  # up to rounding the column is made of others: it stays as it is
            self._alpha[column], self._usable[column] = before, False
            return
        self._log_evidence += gain
        inverse, _ = scipy.linalg.lapack.dpotri(factor, lower=1)  # its lower half
        self._covariance = np.tril(inverse) + np.tril(inverse, -1).T
        self._mean = self._covariance @ self._moment[places]

    def fit(self, like: Tensor) -> SparseFit:
        """Return the posterior as tensors like the one given."""
        places = np.flatnonzero(self.active)
        weights, variance, share = (np.zeros_like(self._moment) for _ in range(3))
        weights[places], variance[places] = self._mean, self._covariance.diagonal()
        share[places] = 1 - self._alpha[places] * variance[places]
        found = [torch.from_numpy(one).to(like) for one in (weights, variance, share)]
        return SparseFit(found[0], found[1], found[2], self._log_evidence)


def _term(sparsity: Vector, quality: Vector, alpha: Vector) -> Vector:
    """Return the part of the log evidence that depends on ``alpha``; 0 where it is infinite."""
    term = np.zeros_like(alpha)
    some = np.isfinite(alpha)
    s, q, a = sparsity[some], quality[some], alpha[some]
    term[some] = 0.5 * (np.log(a / (a + s)) + q**2 / (a + s))
    return term
