"""`regressors`: the columns (1, T, g) of a robust regression."""

import math

import numpy as np

from dfl.abtest.regression.cross_fit import CrossFit
from dfl.abtest.rows.contrast import Contrast, require_varying
from dfl.stats.arrays import Matrix

__all__ = ["TREATMENT", "regressors"]

TREATMENT = 1  # position of the treatment among the regressors


def regressors(contrast: Contrast, cross_fit: CrossFit) -> Matrix:
    """Return ones, treatment and, where there is one, the standardised prediction, as rows.

    Args:
        contrast: the rows.
        cross_fit: makes the prediction where the contrast has covariates only.

    Returns:
        Shape ``(2, n)`` or ``(3, n)``. Standardising changes neither the treatment's
        coefficient nor the fit.

    Raises:
        InvalidValueError: if the prediction is constant.
    """
    prediction = contrast.predicted(cross_fit)
    rows = np.empty((2 if prediction is None else 3, contrast.rows))
    rows[0] = 1
    rows[TREATMENT] = contrast.treated
    if prediction is not None:
        np.subtract(require_varying(prediction), prediction.mean(), out=rows[2])
        rows[2] /= math.sqrt(float(rows[2] @ rows[2]) / contrast.rows)
    return rows
