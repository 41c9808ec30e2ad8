"""`across`: a mean over repetitions with Student's t interval."""

from collections.abc import Sequence

import numpy as np

__all__ = ["across"]


def across(values: Sequence[float], level: float) -> dict[str, float]:
    """Return mean over seeds with Student's t interval; of one value, the value alone.

    Args:
        values: one per seed.
        level: confidence level, in (0, 1).
    """
    from scipy.stats import t as student  # loads on use

    mean = float(np.mean(values))
    if len(values) == 1:
        return {"value": mean}
    error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    reach = float(student.ppf(0.5 + level / 2, len(values) - 1)) * error
    return {"value": mean, "standard_error": error, "low": mean - reach, "high": mean + reach}
