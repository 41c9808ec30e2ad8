"""Hypergradients: derivatives of an outer loss through the optimum of an inner loss."""

if __name__ != "dfl.hypergrad":
    raise ImportError(
        "import dfl.hypergrad, not hypergrad: the root folder 'hypergrad' is a signpost to "
        "dfl/hypergrad."
    )

from dfl.hypergrad.base import (
    AbstractHypergradient,
    ComposedLoss,
    Diagnostics,
    Hypergradient,
    Loss,
    Outputs,
    Parameters,
)
from dfl.hypergrad.bilevel import (
    BilevelResult,
    BilevelTrainer,
    NotAtOptimumWarning,
    UpperStep,
    warn_unless_optimal,
)
from dfl.hypergrad.conjugate_gradient import ConjugateGradient
from dfl.hypergrad.curvature.linear_stack import LinearStack
from dfl.hypergrad.exact import Exact
from dfl.hypergrad.gauss_newton import GaussNewton
from dfl.hypergrad.identity import Identity
from dfl.hypergrad.implicit import AbstractImplicit, several_hypergradients
from dfl.hypergrad.neumann import Neumann
from dfl.hypergrad.nystrom import Nystrom
from dfl.hypergrad.steps.look_ahead import LookAhead, largest_eigenvalue
from dfl.hypergrad.truncated import Truncated
from dfl.hypergrad.unrolled import Unrolled
from dfl.registry import Registry

__all__ = [
    "HYPERGRADIENTS",
    "AbstractHypergradient",
    "AbstractImplicit",
    "BilevelResult",
    "BilevelTrainer",
    "ComposedLoss",
    "ConjugateGradient",
    "Diagnostics",
    "Exact",
    "GaussNewton",
    "Hypergradient",
    "Identity",
    "LinearStack",
    "LookAhead",
    "Loss",
    "Neumann",
    "NotAtOptimumWarning",
    "Nystrom",
    "Outputs",
    "Parameters",
    "Truncated",
    "Unrolled",
    "UpperStep",
    "largest_eigenvalue",
    "several_hypergradients",
    "warn_unless_optimal",
]

HYPERGRADIENTS: Registry[AbstractHypergradient] = Registry(
    "hypergrad",
    AbstractHypergradient,  # type: ignore[type-abstract]  # the table only checks subclasses
    {
        "conjugate-gradient": "dfl.hypergrad.conjugate_gradient:ConjugateGradient",
        "exact": "dfl.hypergrad.exact:Exact",
        "gauss-newton": "dfl.hypergrad.gauss_newton:GaussNewton",
        "identity": "dfl.hypergrad.identity:Identity",
        "neumann": "dfl.hypergrad.neumann:Neumann",
        "nystrom": "dfl.hypergrad.nystrom:Nystrom",
        "truncated": "dfl.hypergrad.truncated:Truncated",
        "unrolled": "dfl.hypergrad.unrolled:Unrolled",
    },
)
