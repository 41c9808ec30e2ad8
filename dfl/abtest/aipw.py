"""`Aipw`: augmented inverse propensity weighting with cross-fitted models of each arm."""

from dataclasses import dataclass, field
from typing import final

import numpy as np

from dfl.abtest.base import AbstractEstimator, Fit
from dfl.abtest.regression.cross_fit import CrossFit
from dfl.abtest.rows.contrast import Contrast, Linearisation
from dfl.errors import InvalidValueError

__all__ = ["Aipw"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Aipw(AbstractEstimator):
    """Mean of ``m1 - m0 + T (Y - m1) / p - (1 - T) (Y - m0) / (1 - p)``.

    ``m1`` and ``m0`` predict the outcome under each arm, out of fold; ``p`` is the arm's share.
    Unbiased for the mean effect whatever the models are, and efficient if they are right.

    Args:
        cross_fit: makes the predictions from the covariates, or from the prediction where
            there are no covariates.
        linearisation: how a ratio becomes one number per row, see `linearise_arms`.

    Source:
        Robins, Rotnitzky and Zhao (1994), doi:10.1080/01621459.1994.10476818; cross-fitting:
        Chernozhukov et al. (2018), arXiv:1608.00060.
    """

    cross_fit: CrossFit = field(default_factory=CrossFit)
    linearisation: Linearisation = "delta"

    def fit(self, contrast: Contrast) -> Fit:
        """Return the mean of the scores.

        Raises:
            InvalidValueError: if there is neither covariate nor prediction, or too few rows to
                learn from.
        """
        features = contrast.covariates
        if features is None and contrast.prediction is not None:
            features = contrast.prediction[:, None]
        if features is None:
            raise InvalidValueError(
                "aipw needs covariates, or a prediction made from them; without either use "
                "difference-in-means."
            )
        treated, outcome = contrast.treated, contrast.outcome
        under_treatment, under_control = (
            self.cross_fit.predict(features, outcome, clusters=contrast.clusters, learn_from=arm)
            for arm in (treated, ~treated)
        )
        share = contrast.treated_rows / contrast.rows
        residual = np.where(
            treated, (outcome - under_treatment) / share, (under_control - outcome) / (1 - share)
        )
        scores = under_treatment - under_control + residual
        estimate = float(scores.mean())
        influence = scores - estimate
        return Fit(
            estimate=estimate,
            standard_error=contrast.standard_error(influence),
            influence=influence,
            least_units=10,
            diagnostics={"model_effect": float((under_treatment - under_control).mean())},
        )
