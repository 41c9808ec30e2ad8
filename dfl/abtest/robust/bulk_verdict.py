"""`bulk_verdict`: what a robust estimate may be used for, in plain words."""

from dfl.abtest.robust.hausman import SameEffectCheck
from dfl.abtest.robust.weights import WeightSummary

__all__ = ["bulk_verdict"]

_ALARM = 0.05
_UNBALANCED = 3.0  # standard errors
_SHARP = 0.5  # of the estimate: a check that misses more than that says little


def bulk_verdict(estimate: float, check: SameEffectCheck, weights: WeightSummary) -> str:
    """Say whether the effect on the bulk of users may stand for the mean effect.

    Args:
        estimate: of the effect on the bulk, in units of the metric.
        check: against the estimate of the mean effect.
        weights: how much the rows count.
    """
    parts = [
        "STATE measures the effect on the bulk of users: "
        f"{weights.hardly_counted:.2%} of the rows hardly count.",
        _check_sentence(estimate, check),
    ]
    if abs(weights.z) > _UNBALANCED:
        more = "more" if weights.z < 0 else "fewer"
        parts.append(
            f"The treated arm has {more} outliers than the control, so something happens in the "
            "tail that STATE leaves out."
        )
    return " ".join(parts)


def _check_sentence(estimate: float, check: SameEffectCheck) -> str:
    mean = f"the mean effect by least squares is {estimate - check.difference:.4g}"
    if check.p_value < _ALARM:
        return (
            f"It is NOT the mean effect: {mean} (check p = {check.p_value:.2g}). Do not multiply "
            "it by the number of users; report the mean effect with its own error beside it."
        )
    blind = f"a difference below {check.detectable:.4g} would likely go unnoticed"
    if check.detectable > _SHARP * abs(estimate):
        return (
            f"Whether it is also the mean effect cannot be told: {mean} (check p = "
            f"{check.p_value:.2g}), but {blind}, more than half of the estimate. Call it an effect "
            "on the bulk of users, not a mean effect."
        )
    return (
        f"No sign that it differs from the mean effect: {mean} (check p = {check.p_value:.2g}; "
        f"{blind})."
    )
