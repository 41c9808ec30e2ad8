"""Which second derivatives an implicit hypergradient is built on, as an option."""

from typing import Literal, TypeAlias

from dfl.errors import InvalidValueError
from dfl.hypergrad.base import Loss
from dfl.hypergrad.curvature.base import Curvature
from dfl.hypergrad.curvature.gauss_newton import gauss_newton
from dfl.hypergrad.curvature.hessian import hessian
from dfl.hypergrad.point import Point

__all__ = ["CurvatureName", "check_curvature", "curvature_of"]

CurvatureName: TypeAlias = Literal["hessian", "gauss-newton"]
_KINDS = {"hessian": hessian, "gauss-newton": gauss_newton}


def check_curvature(curvature: str) -> None:
    """Check the option ``curvature``.

    Raises:
        InvalidValueError: if it is neither ``"hessian"`` nor ``"gauss-newton"``.
    """
    if curvature not in _KINDS:
        raise InvalidValueError(
            f"curvature must be 'hessian' or 'gauss-newton', got {curvature!r}."
        )


def curvature_of(name: CurvatureName, loss: Loss, point: Point) -> Curvature:
    """Return the named second derivatives of ``loss`` at ``point``.

    Raises:
        ShapeError: if the loss returns neither a scalar nor one value per member.
        InvalidValueError: if the loss is not finite, or no `ComposedLoss` where
            Gauss-Newton needs one.
    """
    return _KINDS[name](loss, point)
