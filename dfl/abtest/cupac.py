"""`Cupac`: CUPED with a prediction as the covariate."""

from dataclasses import dataclass, field
from typing import final

from dfl.abtest.base import AbstractEstimator, Fit
from dfl.abtest.cuped import adjusted_difference
from dfl.abtest.regression.cross_fit import CrossFit
from dfl.abtest.rows.contrast import Contrast, Linearisation, check_linearisation

__all__ = ["Cupac"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Cupac(AbstractEstimator):
    """Difference in means of ``outcome - theta (g - mean g)``, ``g`` a prediction.

    Args:
        cross_fit: makes the prediction where the contrast has none.
        linearisation: how a ratio becomes one number per row, see `linearise_arms`.

    Raises:
        InvalidValueError: if the linearisation is unknown.

    Source:
        Tang et al. (2020), Control Using Predictions as Covariates in switchback experiments.
    """

    cross_fit: CrossFit = field(default_factory=CrossFit)
    linearisation: Linearisation = "delta"

    def __post_init__(self) -> None:
        """Check the options."""
        check_linearisation(self.linearisation)

    def fit(self, contrast: Contrast) -> Fit:
        """Return the adjusted difference of the means.

        Raises:
            InvalidValueError: if there is neither prediction nor covariate, or the
                prediction is constant.
        """
        prediction = contrast.required_prediction("cupac", self.cross_fit)
        return adjusted_difference(contrast, contrast.outcome, prediction[:, None])
