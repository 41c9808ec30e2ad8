"""Iterative solvers of ``A x = b`` for matrices known by their products, one file each."""

from dfl.hypergrad.linear.base import LinearSolution, Product
from dfl.hypergrad.linear.conjugate_gradient import conjugate_gradient

__all__ = ["LinearSolution", "Product", "conjugate_gradient"]
