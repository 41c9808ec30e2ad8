"""`adjust_p_values`: p-values that stay honest when many are read."""

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np

from dfl.checks import check_choice
from dfl.errors import InvalidValueError
from dfl.stats.arrays import Vector, vector

__all__ = ["Correction", "adjust_p_values", "check_correction"]

Correction: TypeAlias = Literal["holm", "bonferroni", "benjamini-hochberg", "none"]


def check_correction(correction: Correction) -> None:
    """Check the option.

    Raises:
        InvalidValueError: if it is unknown.
    """
    check_choice("correction", correction, get_args(Correction))


def adjust_p_values(p_values: Sequence[float] | Vector, *, correction: Correction) -> Vector:
    """Return adjusted p-values, in the same order; compare them with the usual 0.05.

    Args:
        p_values: of the tests that are read together, in [0, 1]. Shape ``(m,)``.
        correction: ``"holm"``: the chance of any false alarm stays below the level;
            ``"bonferroni"``: the same, simpler and weaker; ``"benjamini-hochberg"``: the
            expected share of false alarms among the alarms stays below it; ``"none"``.

    Raises:
        InvalidValueError: if a p-value is not in [0, 1], or the correction is unknown.

    Source:
        Holm (1979); Benjamini and Hochberg (1995), doi:10.1111/j.2517-6161.1995.tb02031.x.
    """
    check_correction(correction)
    values = vector("p_values", p_values)
    if ((values < 0) | (values > 1)).any():
        raise InvalidValueError(f"p_values must be in [0, 1], got {values.tolist()}.")
    if correction == "none":
        return values.copy()
    count = len(values)
    order = np.argsort(values, kind="stable")
    rank = np.arange(1, count + 1)
    if correction == "bonferroni":
        scaled: Vector = values[order] * count
    elif correction == "holm":
        scaled = np.maximum.accumulate(values[order] * (count - rank + 1))
    else:
        scaled = np.minimum.accumulate((values[order] * count / rank)[::-1])[::-1]
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(scaled, 1)
    return adjusted
