"""Second derivatives of an inner loss as matrix-vector products; no matrix is formed."""

from dfl.hypergrad.curvature.base import Curvature
from dfl.hypergrad.curvature.choice import CurvatureName, check_curvature, curvature_of
from dfl.hypergrad.curvature.gauss_newton import gauss_newton
from dfl.hypergrad.curvature.hessian import hessian
from dfl.hypergrad.curvature.probe import probe

__all__ = [
    "Curvature",
    "CurvatureName",
    "check_curvature",
    "curvature_of",
    "gauss_newton",
    "hessian",
    "probe",
]
