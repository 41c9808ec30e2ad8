"""Paired comparison of two models on the same rows and the same bootstrap draws."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.errors import InvalidValueError
from dfl.stats.bootstrap import Estimate, summarise
from dfl.stats.intervals import two_sided_p_value

__all__ = ["PairedComparison", "paired_difference", "paired_ratio"]

_ROUNDING = 1e-12  # relative; sums in another order differ by less


@final
@dataclass(frozen=True, eq=False)
class PairedComparison:
    """How two models differ.

    Args:
        estimate: difference or ratio, with its error and interval.
        p_value: two-sided, normal, of "both are worth the same": difference 0, ratio 1.
    """

    estimate: Estimate
    p_value: float


def paired_difference(
    first: Estimate, second: Estimate, *, level: float = 0.95
) -> PairedComparison:
    """Compare two estimates by ``first - second``.

    Both were estimated on the same rows, so most of their noise is shared and cancels in
    every draw: the interval is narrower than the two intervals suggest.

    Args:
        first: of one model; EOM, AUCC or Qini.
        second: the same metric of another model, same rows and draws.
        level: confidence level of the interval, in (0, 1).

    Raises:
        InvalidValueError: if rows or draws differ, or ``level`` is out of range.
    """
    _check_pair(first, second)
    one, other = _with_value(first), _with_value(second)
    return _compare(one - other, float(one.abs().max()), first, level, 0.0)


def paired_ratio(first: Estimate, second: Estimate, *, level: float = 0.95) -> PairedComparison:
    """Compare two estimates by ``first / second``, as published tables do.

    Args:
        first: of one model; EOM, AUCC or Qini.
        second: the same metric of the model that counts as 1, same rows and draws.
        level: confidence level of the interval, in (0, 1).

    Raises:
        InvalidValueError: if rows or draws differ, ``level`` is out of range, or ``second``
            is not clearly away from 0, where a ratio means nothing.
    """
    _check_pair(first, second)
    if not bool((second.draws * second.value > 0).all()):
        raise InvalidValueError(
            f"the second estimate, {second.value:g} with standard error "
            f"{second.standard_error:g}, must have one sign in every draw for a ratio; compare "
            "by paired_difference."
        )
    return _compare(_with_value(first) / _with_value(second), 1.0, first, level, 1.0)


def _compare(
    pair: Tensor, scale: float, first: Estimate, level: float, null: float
) -> PairedComparison:
    """Summarise value and draws, ``(1 + draws,)``; what differs by rounding does not differ."""
    away = pair - null
    away = torch.where(away.abs() > _ROUNDING * scale, away, 0.0)
    value, draws = float(away[0]), away[1:] + null
    estimate = summarise(value + null, draws, level, first.rows_key)
    return PairedComparison(estimate, _p_value(value, estimate.standard_error))


def _with_value(estimate: Estimate) -> Tensor:
    return torch.cat([estimate.draws.new_tensor([estimate.value]), estimate.draws])


def _p_value(distance: float, error: float) -> float:
    """Two-sided normal test; models that never differ are not different."""
    if error == 0:
        return 1.0 if distance == 0 else 0.0
    return two_sided_p_value(distance / error)


def _check_pair(first: Estimate, second: Estimate) -> None:
    if first.rows_key != second.rows_key or first.draws.shape != second.draws.shape:
        raise InvalidValueError(
            "two estimates can be paired only on the same rows and draws, these come from "
            "different ones; evaluate both models on one data set with one Bootstrap."
        )
