"""Second derivatives of an inner loss as matrix-vector products; no matrix is formed."""

from dfl.hypergrad.curvature.base import Curvature
from dfl.hypergrad.curvature.gauss_newton import gauss_newton
from dfl.hypergrad.curvature.hessian import hessian

__all__ = ["Curvature", "gauss_newton", "hessian"]
