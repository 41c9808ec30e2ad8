"""Differentiable layers: from predicted revenue and cost to a soft allocation."""

if __name__ != "dfl.layers":
    raise ImportError("import dfl.layers, not layers: the root folder 'layers' is a signpost.")

from typing import TYPE_CHECKING

from dfl.layers.base import AbstractLayer, AtPrice, BudgetLike, SoftAllocation
from dfl.layers.finite_difference import FiniteDifference
from dfl.layers.implicit_mle import ImplicitMle, ImplicitMleDecision
from dfl.layers.interpolation import InterpolatedDecision, Interpolation
from dfl.layers.perturbed.argmax import Argmax, each_row, one_hot_argmax
from dfl.layers.perturbed.expected_choice import expected_choice, expected_maximum
from dfl.layers.perturbed.perturbed_decision import PerturbedDecision
from dfl.layers.perturbed_argmax import PerturbedArgmax
from dfl.layers.pricing.options import Price, Softness, ZeroGradientWarning
from dfl.layers.quadratic import Quadratic
from dfl.layers.softmax import Softmax
from dfl.layers.straight_through import StraightThrough, StraightThroughDecision
from dfl.registry import Entry, Registry, lazy

if TYPE_CHECKING:
    from dfl.layers.linear_program import LinearProgram


__all__ = [
    "LAYERS",
    "AbstractLayer",
    "Argmax",
    "AtPrice",
    "BudgetLike",
    "FiniteDifference",
    "ImplicitMle",
    "ImplicitMleDecision",
    "InterpolatedDecision",
    "Interpolation",
    "LinearProgram",
    "PerturbedArgmax",
    "PerturbedDecision",
    "Price",
    "Quadratic",
    "SoftAllocation",
    "Softmax",
    "Softness",
    "StraightThrough",
    "StraightThroughDecision",
    "ZeroGradientWarning",
    "each_row",
    "expected_choice",
    "expected_maximum",
    "one_hot_argmax",
]

LAYERS: Registry[AbstractLayer] = Registry(
    "layers",
    AbstractLayer,  # type: ignore[type-abstract]  # the interface itself, never instantiated
    {
        "finite-difference": "dfl.layers.finite_difference:FiniteDifference",
        "implicit-mle": "dfl.layers.implicit_mle:ImplicitMle",
        "interpolation": "dfl.layers.interpolation:Interpolation",
        "linear-program": Entry("dfl.layers.linear_program:LinearProgram", extra="cvxpy"),
        "perturbed-argmax": "dfl.layers.perturbed_argmax:PerturbedArgmax",
        "quadratic": "dfl.layers.quadratic:Quadratic",
        "straight-through": "dfl.layers.straight_through:StraightThrough",
        "softmax": "dfl.layers.softmax:Softmax",
    },
)

# Imported on first use: it needs an extra.
__getattr__ = lazy(__name__, {"LinearProgram": "linear_program"})
