"""`rows_needed`: how many rows tell a difference from chance, by an estimate that is there."""

import math

from dfl.checks import check_count, check_number
from dfl.errors import InvalidValueError

__all__ = ["rows_needed"]


def rows_needed(
    difference: float, standard_error: float, rows: int, *, level: float = 0.95, power: float = 0.8
) -> int:
    """Return how many rows a test needs that finds a difference in ``power`` of all samples.

    ``rows * ((z_{(1 + level) / 2} + z_power) * standard_error / difference)^2``, rounded up: the
    standard error falls as one over the root of the rows, whatever the estimator. Normal
    quantiles: for large samples.

    Args:
        difference: that should be found, in the estimate's unit, not 0.
        standard_error: of the estimate on ``rows`` rows, in the same unit, > 0.
        rows: of the sample that gave it, >= 2.
        level: confidence of the two-sided interval that should leave out 0, in (0, 1).
        power: chance that it does, above the ``(1 - level) / 2`` that any rows have, below 1.

    Raises:
        InvalidValueError: if a number is out of range, or the difference so small that the rows
            cannot be counted.
    """
    from scipy.special import ndtri  # loads on use

    check_number("standard_error", standard_error, above=0)
    check_count("rows", rows, at_least=2)
    check_number("level", level, above=0, below=1)
    check_number("power", power, above=(1 - level) / 2, below=1)
    check_number("difference", abs(difference), at_least=0)
    if difference == 0:
        raise InvalidValueError("difference must not be 0: no number of rows tells it from chance.")
    quantiles = float(ndtri((1 + level) / 2) + ndtri(power))
    root = quantiles * standard_error / difference
    needed = rows * root * root
    if not math.isfinite(needed):
        raise InvalidValueError(
            f"difference must not be this small beside a standard error of {standard_error:g}, got "
            f"{difference:g}: no number of rows tells it from chance. Ask for a larger one."
        )
    return math.ceil(needed)
