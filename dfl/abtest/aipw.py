"""`Aipw`: augmented inverse propensity weighting with cross-fitted models of each arm."""

from dataclasses import dataclass, field
from typing import final

import numpy as np

from dfl.abtest.base import AbstractEstimator, Fit
from dfl.abtest.regression.cross_fit import CrossFit
from dfl.abtest.rows.contrast import Contrast, Linearisation, check_linearisation
from dfl.errors import InvalidValueError
from dfl.scale import PARTS
from dfl.stats.arrays import Vector

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

    Raises:
        InvalidValueError: if the linearisation is unknown.

    Source:
        Robins, Rotnitzky and Zhao (1994), doi:10.1080/01621459.1994.10476818; cross-fitting:
        Chernozhukov et al. (2018), arXiv:1608.00060.
    """

    cross_fit: CrossFit = field(default_factory=CrossFit)
    linearisation: Linearisation = "delta"

    def __post_init__(self) -> None:
        """Check the options."""
        check_linearisation(self.linearisation)

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
        treated, outcome, empty = contrast.treated, contrast.outcome, contrast.empty
        untreated = np.logical_not(treated, out=empty(contrast.rows, np.bool_))
        under_treatment, under_control = (
            self.cross_fit.predict(
                features, outcome, clusters=contrast.clusters, learn_from=arm, empty=empty
            )
            for arm in (treated, untreated)
        )
        share = contrast.treated_rows / contrast.rows
        scores: Vector = empty(contrast.rows)
        for part in PARTS.of(contrast.rows):
            one, zero, seen = under_treatment[part], under_control[part], outcome[part]
            residual = np.where(treated[part], (seen - one) / share, (zero - seen) / (1 - share))
            scores[part] = one - zero + residual
        estimate = float(scores.mean())
        influence = np.subtract(scores, estimate, out=scores)
        return Fit(
            estimate=estimate,
            standard_error=contrast.standard_error(influence),
            influence=influence,
            least_units=10,
            diagnostics={"model_effect": float(under_treatment.mean() - under_control.mean())},
        )
