"""Solvers of ``A x = b`` for matrices known by their products, one file each."""

from dfl.hypergrad.linear.base import LinearSolution, Product
from dfl.hypergrad.linear.conjugate_gradient import conjugate_gradient
from dfl.hypergrad.linear.dense import dense
from dfl.hypergrad.linear.neumann import neumann
from dfl.hypergrad.linear.nystrom import nystrom
from dfl.hypergrad.linear.power_iteration import power_iteration

__all__ = [
    "LinearSolution",
    "Product",
    "conjugate_gradient",
    "dense",
    "neumann",
    "nystrom",
    "power_iteration",
]
