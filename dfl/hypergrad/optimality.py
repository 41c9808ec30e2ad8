"""`warn_unless_optimal`: says on request that the inner problem is not solved."""

import warnings
from typing import final

from dfl.hypergrad.base import Diagnostics

__all__ = ["NotAtOptimumWarning", "warn_unless_optimal"]


@final
class NotAtOptimumWarning(UserWarning):
    """An implicit hypergradient was taken where the inner gradient is not near zero."""


def warn_unless_optimal(diagnostics: Diagnostics, *, atol: float) -> None:
    """Warn where a hypergradient was not taken at an optimum of the inner loss.

    The implicit function theorem is about the optimum. Its error elsewhere is about the
    distance to the optimum, at most ``inner_gradient / smallest curvature``, times what the
    losses' second derivatives change per unit of it. Training methods that stop the inner
    problem early on purpose need no such warning, so hypergradients never give it by
    themselves.

    Args:
        diagnostics: of a hypergradient.
        atol: largest norm of the inner gradient that counts as zero, >= 0, in inner loss per
            unit of parameter.
    """
    worst = float(diagnostics.inner_gradient.max())
    if not worst <= atol:
        warnings.warn(
            f"the inner gradient has norm {worst:.3g} where the hypergradient was taken, above "
            f"{atol:.3g}: inner is no optimum of inner_loss, so the implicit function theorem "
            "holds only roughly. Train inner longer, or use Unrolled, which needs no optimum.",
            NotAtOptimumWarning,
            stacklevel=2,
        )
