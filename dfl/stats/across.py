"""`across`: a mean over repetitions with Student's t interval."""

from collections.abc import Sequence

import numpy as np

from dfl.checks import check_number
from dfl.errors import InvalidValueError
from dfl.stats.arrays import vector

__all__ = ["across"]


def across(values: Sequence[float], level: float) -> dict[str, float]:
    """Return mean over seeds with Student's t interval; of one value, the value alone.

    Args:
        values: one per seed.
        level: confidence level, in (0, 1).

    Raises:
        InvalidValueError: if a value is not finite, there is none, or ``level`` is out of range.
    """
    from scipy.special import stdtrit  # loads on use

    check_number("level", level, above=0, below=1)
    found = vector("values", values)
    if not len(found):
        raise InvalidValueError("values must hold one number per seed, got none.")
    mean = float(np.mean(found))
    if len(values) == 1:
        return {"value": mean}
    error = float(np.std(found, ddof=1) / np.sqrt(len(values)))
    reach = float(stdtrit(len(values) - 1, 0.5 + level / 2)) * error
    return {"value": mean, "standard_error": error, "low": mean - reach, "high": mean + reach}
