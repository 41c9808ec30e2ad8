"""Hypergradients: derivatives of an outer loss through the optimum of an inner loss."""

if __name__ != "dfl.hypergrad":
    raise ImportError(
        "import dfl.hypergrad, not hypergrad: the root folder 'hypergrad' is a signpost to "
        "dfl/hypergrad."
    )

from dfl.hypergrad.base import (
    AbstractHypergradient,
    Diagnostics,
    Hypergradient,
    Loss,
    Parameters,
)
from dfl.hypergrad.composed_loss import ComposedLoss, Outputs
from dfl.hypergrad.conjugate_gradient import ConjugateGradient
from dfl.hypergrad.gauss_newton import GaussNewton
from dfl.hypergrad.look_ahead import LookAhead, largest_eigenvalue, look_ahead
from dfl.hypergrad.unrolled import Unrolled
from dfl.registry import Registry

__all__ = [
    "HYPERGRADIENTS",
    "AbstractHypergradient",
    "ComposedLoss",
    "ConjugateGradient",
    "Diagnostics",
    "GaussNewton",
    "Hypergradient",
    "LookAhead",
    "Loss",
    "Outputs",
    "Parameters",
    "Unrolled",
    "largest_eigenvalue",
    "look_ahead",
]

HYPERGRADIENTS: Registry[AbstractHypergradient] = Registry(
    "hypergrad",
    AbstractHypergradient,  # type: ignore[type-abstract]  # the table only checks subclasses
    {
        "conjugate-gradient": "dfl.hypergrad.conjugate_gradient:ConjugateGradient",
        "gauss-newton": "dfl.hypergrad.gauss_newton:GaussNewton",
        "unrolled": "dfl.hypergrad.unrolled:Unrolled",
    },
)
