"""`Mlrate`: regression on treatment, prediction and their interaction."""

from dataclasses import dataclass, field
from typing import final

import numpy as np

from dfl.abtest.base import AbstractEstimator, Fit
from dfl.abtest.regression.cross_fit import CrossFit
from dfl.abtest.regression.linear import least_squares
from dfl.abtest.rows.contrast import Contrast, Linearisation, check_linearisation

__all__ = ["Mlrate"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Mlrate(AbstractEstimator):
    """Coefficient of T in the regression on ``(1, T, g, T (g - mean g))``.

    ``g`` is a cross-fitted prediction. Standard error: root of the robust variance (HC0) plus
    ``interaction^2 Var(g) / n``, as the mean of ``g`` is itself estimated.

    Args:
        cross_fit: makes the prediction where the contrast has none.
        linearisation: how a ratio becomes one number per row, see `linearise_arms`.

    Raises:
        InvalidValueError: if the linearisation is unknown.

    Source:
        Guo et al. (2021), arXiv:2106.07263, Section 3; the second part of the variance: Negi and
        Wooldridge (2021), doi:10.1080/07474938.2020.1824732.
    """

    cross_fit: CrossFit = field(default_factory=CrossFit)
    linearisation: Linearisation = "delta"

    def __post_init__(self) -> None:
        """Check the options."""
        check_linearisation(self.linearisation)

    def fit(self, contrast: Contrast) -> Fit:
        """Return the coefficient of the treatment.

        Raises:
            InvalidValueError: if there is neither prediction nor covariate, the prediction is
                constant, or is constant in one arm.
        """
        prediction = contrast.required_prediction("mlrate", self.cross_fit)
        mean = float(prediction.mean())
        regressors = contrast.empty((4, contrast.rows))
        regressors[0], regressors[1] = 1, contrast.treated
        centred = np.subtract(prediction, mean, out=regressors[2])
        np.multiply(regressors[1], centred, out=regressors[3])
        found = least_squares(regressors, contrast.outcome)
        intercept, estimate, slope, interaction = map(float, found.coefficients)
        influence = found.influence(regressors, contrast.outcome, 1, contrast.empty)
        of_the_mean = np.multiply(centred, interaction, out=contrast.empty(contrast.rows))
        error = contrast.standard_error(influence, of_the_mean)
        influence += of_the_mean
        return Fit(
            estimate=estimate,
            standard_error=error,
            influence=influence,
            design=regressors,
            least_units=10,
            diagnostics={
                "intercept": intercept - slope * mean,
                "slope": slope,
                "interaction": interaction,
            },
        )
