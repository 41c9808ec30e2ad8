"""Normal intervals and p-values."""

import math
from statistics import NormalDist

from dfl.checks import check_number

__all__ = ["interval_factor", "two_sided_p_value"]


def interval_factor(level: float) -> float:
    """Return ``z`` such that a standard normal lies in ``[-z, z]`` with probability ``level``.

    Raises:
        InvalidValueError: if ``level`` is not in (0, 1).
    """
    check_number("level", level, above=0, below=1)
    upper = 0.5 + level / 2
    return NormalDist().inv_cdf(upper) if upper < 1 else -NormalDist().inv_cdf((1 - level) / 2)


def two_sided_p_value(z: float) -> float:
    """Return the probability that a standard normal is farther from 0 than ``z``."""
    return math.erfc(abs(z) / math.sqrt(2))
