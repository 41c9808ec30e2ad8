"""`sample_ratio`: do the arms have the sizes that were planned?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from scipy import stats

from dfl.abtest.rows.experiment import Experiment
from dfl.errors import DflError

__all__ = ["SampleRatio", "SampleRatioError", "check_sample_ratio", "sample_ratio"]

_ALARM = 5e-4  # one false alarm in 2,000 sound experiments


@final
class SampleRatioError(DflError, ValueError):
    """The sizes of the arms contradict the plan: the assignment was not random as planned."""


@final
@dataclass(frozen=True, kw_only=True)
class SampleRatio:
    """Sizes of the arms beside the plan.

    Args:
        observed: arm to its number of randomised units.
        expected: arm to the number that the plan expects.
        p_value: of sizes this far from the plan, if the plan was followed.
    """

    observed: Mapping[str, int]
    expected: Mapping[str, float]
    p_value: float


def sample_ratio(experiment: Experiment) -> SampleRatio:
    """Test the sizes of the arms against the planned shares by Pearson's chi-square.

    Args:
        experiment: its randomised units (clusters where there are any) are counted.

    Source:
        Fabijan et al. (2019), doi:10.1145/3292500.3330722.
    """
    observed = experiment.unit_counts
    shares = experiment.shares or dict.fromkeys(experiment.arms, 1.0)
    total, units = sum(shares.values()), sum(observed.values())
    expected = {arm: units * shares[arm] / total for arm in observed}
    p_value = stats.chisquare(list(observed.values()), list(expected.values())).pvalue
    return SampleRatio(
        observed={str(arm): count for arm, count in observed.items()},
        expected={str(arm): count for arm, count in expected.items()},
        p_value=float(p_value),
    )


def check_sample_ratio(experiment: Experiment) -> SampleRatio:
    """Return the sample ratio, or fail where it cannot be chance.

    Raises:
        SampleRatioError: if the p-value is below 0.0005.
    """
    found = sample_ratio(experiment)
    if found.p_value < _ALARM:
        sizes = ", ".join(
            f"{arm}: {count:,} for {found.expected[arm]:,.0f} planned"
            for arm, count in found.observed.items()
        )
        plan = "by shares" if experiment.shares else "as equal shares were assumed"
        raise SampleRatioError(
            f"sample ratio mismatch (p = {found.p_value:.1e}), {sizes}, {plan}. Units were lost or "
            "assigned otherwise than planned, and no estimate can repair that: find out why "
            "before reading any metric. If the plan was another one, say so by shares."
        )
    return found
