"""`Winsorised`: difference in means after capping the largest values."""

from dataclasses import dataclass, field, replace
from typing import final

import numpy as np

from dfl.abtest.base import AbstractEstimator, Fit
from dfl.abtest.cuped import adjusted_difference
from dfl.abtest.regression.cross_fit import CrossFit
from dfl.abtest.rows.contrast import Contrast, Linearisation, check_linearisation
from dfl.checks import check_number
from dfl.errors import InvalidValueError
from dfl.scale import PARTS
from dfl.stats.arrays import Vector
from dfl.stats.quantiles import quantiles
from dfl.stats.soundness import require_varying

__all__ = ["Winsorised"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Winsorised(AbstractEstimator):
    """Caps the outcome at quantiles of both arms together, then compares as CUPAC does.

    One cap for both arms. What the treatment does above the cap is not seen. Without
    prediction and covariates the capped means are compared as they are.

    Args:
        upper: quantile of the upper cap, in (0, 1].
        lower: quantile of the lower cap, in [0, upper); 0: none. A linearised ratio has
            outliers on both sides.
        cross_fit: makes the prediction where the contrast has covariates only.
        linearisation: how a ratio becomes one number per row, see `linearise_arms`.

    Raises:
        InvalidValueError: if an option is out of range.
    """

    upper: float = 0.999
    lower: float = 0.0
    cross_fit: CrossFit = field(default_factory=CrossFit)
    linearisation: Linearisation = "pooled"

    def __post_init__(self) -> None:
        """Check the options."""
        check_linearisation(self.linearisation)
        check_number("upper", self.upper)
        check_number("lower", self.lower)
        if not 0 <= self.lower < self.upper <= 1:
            raise InvalidValueError(
                f"0 <= lower < upper <= 1 must hold, got lower {self.lower:g}, "
                f"upper {self.upper:g}."
            )

    def fit(self, contrast: Contrast) -> Fit:
        """Return the difference of the capped and adjusted means.

        Raises:
            InvalidValueError: if all capped values are the same, or the prediction is constant.
        """
        given = contrast.outcome
        low, high = quantiles(given.__getitem__, contrast.rows, [self.lower, self.upper])
        if not low < high:
            raise InvalidValueError(
                f"upper must leave values that differ, but all are {high:g} once capped at its "
                f"quantile {self.upper:g}; raise upper."
            )
        capped: Vector = np.clip(given, low, high, out=contrast.empty(contrast.rows))
        found = self._compare(contrast, capped)
        changed = np.zeros(2)  # under control and treated
        for part in PARTS.of(contrast.rows):
            treated = contrast.treated[part][capped[part] != given[part]]
            changed += np.bincount(treated, minlength=2)
        shares = {
            "cap": high,
            "capped_treated": float(changed[1]) / contrast.treated_rows,
            "capped_control": float(changed[0]) / (contrast.rows - contrast.treated_rows),
        }
        return Fit(
            estimate=found.estimate,
            standard_error=found.standard_error,
            influence=found.influence,
            diagnostics={**found.diagnostics, **shares},
            bessel=True,
            design=found.design,
            caveat="Effects above the cap are not seen.",
        )

    def _compare(self, contrast: Contrast, capped: Vector) -> Fit:
        prediction = contrast.predicted(self.cross_fit)
        contrast = replace(contrast, outcome=capped)  # of whose size rounding errors are
        if prediction is not None:
            return adjusted_difference(contrast, capped, require_varying(prediction)[:, None])
        estimate, influence = contrast.mean_difference(capped)
        return Fit(
            estimate=estimate,
            standard_error=contrast.standard_error(influence),
            influence=influence,
        )
