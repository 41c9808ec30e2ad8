"""`DifferenceInMeans`: the plain comparison of two means."""

from dataclasses import dataclass
from typing import final

from dfl.abtest.base import AbstractEstimator, Fit
from dfl.abtest.rows.contrast import Contrast, Linearisation, check_linearisation

__all__ = ["DifferenceInMeans"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class DifferenceInMeans(AbstractEstimator):
    """Subtracts the control's mean from the arm's.

    Variance ``s1^2 / n1 + s0^2 / n0``; for a ratio that of the delta method.

    Args:
        linearisation: how a ratio becomes one number per row, see `linearise_arms`.

    Raises:
        InvalidValueError: if the linearisation is unknown.

    Source:
        Neyman (1923), doi:10.1214/ss/1177012031; ratios: Deng, Knoblich and Lu (2018),
        arXiv:1803.06336.
    """

    linearisation: Linearisation = "delta"

    def __post_init__(self) -> None:
        """Check the options."""
        check_linearisation(self.linearisation)

    def fit(self, contrast: Contrast) -> Fit:
        """Return the difference of the means."""
        estimate, influence = contrast.mean_difference(contrast.outcome)
        return Fit(
            estimate=estimate,
            standard_error=contrast.standard_error(influence),
            influence=influence,
            bessel=True,
        )
