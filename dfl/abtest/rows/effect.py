"""`Fit` and `Effect`: what an estimator found for one arm."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from dfl.stats.arrays import Vector

__all__ = ["Effect", "Fit"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Fit:
    """The number that an estimator found on a `Contrast`.

    Args:
        estimate: of the effect, in units of the metric.
        standard_error: of the estimate, same unit.
        influence: what each row adds to ``n`` times the estimate. Shape ``(n,)``.
        diagnostics: numbers that say how the estimate came about.
        caveat: what the reader must know, in plain words, or empty.
    """

    estimate: float
    standard_error: float
    influence: Vector
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    caveat: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class Effect:
    """The effect of one arm against the control.

    Args:
        arm: label of the arm.
        control: label of the control.
        estimate: of the effect, in units of the metric (of the ratio, for a ratio).
        standard_error: of the estimate, same unit.
        low: lower end of the normal interval.
        high: upper end.
        p_value: of "no effect", two-sided, from the normal distribution.
        level: confidence level of the interval, in (0, 1).
        control_value: mean of the metric, or the ratio, in the control arm.
        treated_rows: rows of the arm.
        control_rows: rows of the control.
        diagnostics: numbers that say how the estimate came about.
        verdict: the result in plain words.
    """

    arm: str
    control: str
    estimate: float
    standard_error: float
    low: float
    high: float
    p_value: float
    level: float
    control_value: float
    treated_rows: int
    control_rows: int
    diagnostics: Mapping[str, float]
    verdict: str

    @property
    def relative(self) -> float | None:
        """The effect as a share of the control's value; None where that is 0."""
        return self.estimate / self.control_value if self.control_value else None
