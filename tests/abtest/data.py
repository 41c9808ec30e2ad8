"""Small experiments that several tests share."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from dfl.abtest import Contrast, Experiment, Fit
from dfl.abtest.base import AbstractEstimator
from dfl.abtest.rows.contrast import Linearisation

__all__ = ["G2", "G5", "Stubborn", "contrast", "experiment"]

_T = np.repeat([False, True], 6)

# The golden cases of STATE and of MLRATE.
G2 = Contrast(
    treated=_T,
    outcome=np.array([2.1, 2.9, 4.2, 4.8, 6.1, 7.0, 3.0, 4.1, 5.2, 5.7, 7.1, 30.0]),
    prediction=np.array([1.0, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6]),
)
G5 = Contrast(
    treated=_T,
    outcome=np.array([2.1, 2.9, 4.2, 4.8, 6.1, 7.0, 4.1, 5.2, 5.7, 7.1, 9.0, 9.4]),
    prediction=np.array([1.0, 2, 3, 4, 5, 6, 2, 3, 4, 5, 6, 7]),
)


def contrast(rows: int = 400, *, effect: float = 0.5, seed: int = 0, nu: float = 3.0) -> Contrast:
    """Two arms with one effect for everyone, heavy tails and a prediction."""
    draw = np.random.default_rng(seed)
    treated = draw.permutation(np.arange(rows) % 2) == 1
    prediction = draw.standard_normal(rows)
    outcome = 3 + 2 * prediction + effect * treated + draw.standard_t(nu, rows)
    return Contrast(
        treated=treated, outcome=outcome, covariates=prediction[:, None], prediction=prediction
    )


def experiment(rows: int = 400, *, seed: int = 0, **changed: Any) -> Experiment:
    """The same as an `Experiment`, with columns changed or added."""
    found = contrast(rows, seed=seed)
    columns: dict[str, Any] = {
        "treatment": found.treated.astype(int),
        "metric": found.outcome,
        "covariates": found.covariates,
    }
    return Experiment(**columns | changed)


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Stubborn(AbstractEstimator):
    """Gives nearly the same answer whatever it is given, with an influence of 0."""

    estimate_given: float = 1.0
    error_given: float = 1.0
    linearisation: Linearisation = "delta"

    def fit(self, contrast: Contrast) -> Fit:
        """Return the answer."""
        return Fit(
            estimate=self.estimate_given
            + 0.01 * float(contrast.outcome @ contrast.indicator) / contrast.rows,
            standard_error=self.error_given,
            influence=np.zeros(contrast.rows),
        )
