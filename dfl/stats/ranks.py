"""`Ranks`: how methods rank over repetitions, and by how much ranks must differ to tell."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from dfl.checks import check_number
from dfl.errors import InvalidValueError, ShapeError
from dfl.stats.arrays import Matrix

__all__ = ["Ranks", "ranks"]


@final
@dataclass(frozen=True)
class Ranks:
    """Mean ranks, and what is needed to tell them apart.

    Args:
        mean: mean rank of each method, 1 the best; ties share their mean.
        p_value: of Friedman's test that all methods are alike.
        critical_difference: Nemenyi's; mean ranks that differ by more belong to methods that
            differ, at the level for all pairs together.
    """

    mean: tuple[float, ...]
    p_value: float
    critical_difference: float


def ranks(scores: Matrix, *, level: float = 0.95) -> Ranks:
    """Rank methods in every repetition, and test whether they differ.

    ``critical difference = q / sqrt(2) sqrt(k (k + 1) / (6 N))`` with ``q`` the quantile of the
    studentised range of ``k`` methods and ``N`` repetitions.

    Args:
        scores: larger is better. Shape ``(N, k)``, ``N >= 2``, ``k >= 3``.
        level: of all pairs together, in (0, 1).

    Raises:
        ShapeError: if there are fewer repetitions or methods.
        InvalidValueError: if a score is NaN, or ``level`` is out of range.

    Source:
        Demsar (2006), Statistical comparisons of classifiers over multiple data sets, JMLR 7.
    """
    from scipy.stats import friedmanchisquare, rankdata, studentized_range  # loads on use

    if scores.ndim != 2 or scores.shape[0] < 2 or scores.shape[1] < 3:
        raise ShapeError(f"scores must be (2 or more, 3 or more), got {scores.shape}.")
    check_number("level", level, above=0, below=1)
    missing = int(np.isnan(scores).sum())
    if missing:
        raise InvalidValueError(
            f"scores must not be NaN, got {missing}; leave out the repetitions in which a method "
            "has none, or write -inf where it failed."
        )
    number, methods = scores.shape
    ranked = rankdata(-scores, axis=1)
    alike = bool((ranked == ranked[:, :1]).all())
    p_value = 1.0 if alike else float(friedmanchisquare(*scores.T).pvalue)
    quantile = float(studentized_range.ppf(level, methods, np.inf)) / math.sqrt(2)
    return Ranks(
        tuple(ranked.mean(axis=0).tolist()),
        p_value,
        quantile * math.sqrt(methods * (methods + 1) / (6 * number)),
    )
