"""`ConjugateGradient`: implicit function theorem, solved by conjugate gradients."""

from dataclasses import dataclass
from math import inf
from typing import ClassVar, final

import torch
from torch import Tensor

from dfl.checks import check_count, check_number, put_off
from dfl.errors import InvalidValueError, ShapeError
from dfl.hypergrad.curvature.base import Curvature, Product
from dfl.hypergrad.curvature.linear_system import LinearSolution, balance, check_products
from dfl.hypergrad.implicit import AbstractImplicit

__all__ = ["ConjugateGradient", "conjugate_gradient"]

_LOOK = 16  # steps between two looks at who goes on, where a look waits for a GPU
_AT_HAND = ("cpu",)  # devices where it does not


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class ConjugateGradient(AbstractImplicit):
    """Implicit function theorem; the linear system is solved by conjugate gradients.

    As `AbstractImplicit`. The matrix must be positive definite: at another point than a
    minimum see `GaussNewton`, or damp. Each step costs one product, about two plain
    gradients of the inner loss; one more product measures the residual.

    Args:
        max_iter: most steps of conjugate gradients, >= 1.
        rtol: goal for the relative residual, in [0, 1); 0 spends all steps. float32 seldom
            gets below 1e-6.
        damping: as in `AbstractImplicit`.
        curvature: likewise.
        on_failure: likewise.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Pedregosa (2016), arXiv:1602.02355, algorithm 1 (HOAG). Deviations: damping, one
        system per member.
    """

    effort: ClassVar[str] = "Raise max_iter"

    max_iter: int = 100
    rtol: float = 1e-5

    def _check_options(self) -> None:
        check_count("max_iter", self.max_iter, at_least=1)
        check_number("rtol", self.rtol, at_least=0, below=1)

    def _solve(self, curvature: Curvature, right_hand_side: Tensor) -> LinearSolution:
        return conjugate_gradient(
            curvature.product,
            right_hand_side,
            max_iter=self.max_iter,
            rtol=self.rtol,
            damping=self.damping,
        )


def conjugate_gradient(
    product: Product,
    right_hand_side: Tensor,
    *,
    max_iter: int,
    rtol: float,
    damping: float = 0.0,
    start: Tensor | None = None,
) -> LinearSolution:
    """Solve ``(A + damping I) x = b`` for every member by conjugate gradients.

    Members share each product and nothing else: steps, curvature and stopping are their
    own, and a member that has stopped stays as it is. Where the recursion says it is done,
    the residual is computed anew, and the member goes on from there if rounding had hidden
    an error.

    A member that runs out of steps keeps its last iterate, whose error is the smallest so
    far (the residual need not be). A member that meets a direction with ``p.(A + damping
    I)p`` not above rounding level stops there and keeps the iterate with the smallest
    residual: that theorem needs a positive definite matrix.

    Args:
        product: ``v -> A v``, symmetric.
        right_hand_side: ``b``. Shape ``(members, n)``.
        max_iter: most steps, one product each; one more measures the residual. >= 1.
        rtol: a member stops when ``|residual| <= rtol * |b|``, no unit, in [0, 1).
        damping: added to the diagonal, in units of ``A``, >= 0.
        start: first guess, of the shape of ``right_hand_side``; None is zero, as is the
            answer to ``b = 0`` whatever the start.

    Returns:
        The solution and how good it is; not converging is for the caller to judge.

    Raises:
        ShapeError: if ``right_hand_side`` or ``start`` is not ``(members, n)``.
        InvalidValueError: if a product or a vector is not finite, or an option is out of
            range.

    Source:
        Hestenes and Stiefel (1952), doi:10.6028/jres.049.044, section 3; the error falls at
        every step by its theorem 6:3. Deviations: member axis, damping, exit at negative
        curvature, restart from the true residual.
    """
    check_count("max_iter", max_iter, at_least=1)
    check_number("rtol", rtol, at_least=0, below=1)
    check_number("damping", damping, at_least=0)
    size = balance(right_hand_side)
    _check_start(start, right_hand_side.shape)
    some = right_hand_side.any(dim=1, keepdim=True)
    first = torch.zeros_like(right_hand_side) if start is None else some * start / size
    run = _Run(product, right_hand_side / size, first, rtol, damping)
    run.moved = start is not None
    run.begin()
    while run.iterations < max_iter and run.goes_on():
        while run.iterations < max_iter and run.goes_on():
            run.step()
        run.begin()
    check_products(run.finite & run.squared.isfinite())
    return run.result(size)


def _check_start(start: Tensor | None, shape: torch.Size) -> None:
    if start is None:
        return
    if start.shape != shape:
        raise ShapeError(f"start must be {tuple(shape)}, got {tuple(start.shape)}.")
    finite, text = start.isfinite().all(), "start must be finite, got NaN or infinity."
    if not put_off(finite, text) and not bool(finite):
        raise InvalidValueError(text)


@final
class _Run:
    """State of one solve. Numbers per member have shape ``(members, 1)``.

    A member that is not active takes part in the products and moves by a rate of zero.
    """

    def __init__(
        self, product: Product, target: Tensor, solution: Tensor, rtol: float, damping: float
    ) -> None:
        self.product, self.target, self.solution, self.damping = product, target, solution, damping
        self.length = torch.linalg.vector_norm(target, dim=1, keepdim=True)
        self.goal = rtol * self.length
        self.iterations, self.moved = 0, False  # away from a solution of zeros
        self.smallest = torch.full_like(self.length, inf)  # curvature, without the damping
        self.largest = torch.zeros_like(self.length)  # with it, absolute
        self.best, self.best_squared = solution.clone(), torch.full_like(self.length, inf)
        self.stopped = torch.zeros_like(self.length, dtype=torch.bool)
        self.finite = torch.ones_like(self.stopped)

    def begin(self) -> None:
        """Measure the true residual, and start there anew."""
        self.residual = self.target.clone()
        if self.moved:
            self.residual -= self.product(self.solution) + self.damping * self.solution
        self.squared = _dot(self.residual, self.residual)
        self.active = ~self.stopped & (self.squared.sqrt() > self.goal)
        self.direction = self.residual.clone()
        self._keep_best(self.active)

    def goes_on(self) -> bool:
        """Say whether anyone goes on; off the CPU, look only now and then, as that waits."""
        every = 1 if self.target.device.type in _AT_HAND else _LOOK
        first = every > 1 and not self.iterations
        return first or bool(self.iterations % every) or bool(self.active.any())

    def step(self) -> None:
        """Move every active member along its direction, or stop it."""
        self.iterations, self.moved = self.iterations + 1, True
        image = self.product(self.direction)
        along, length = _dot(self.direction, image), _dot(self.direction, self.direction)
        good = self._measure(along / torch.where(self.active, length, 1.0))
        rate = torch.where(good, self.squared / (along + self.damping * length), 0.0)
        self.solution.addcmul_(rate, self.direction)
        self.residual.addcmul_(rate, image, value=-1)
        self.residual.addcmul_(rate, self.direction, value=-self.damping)
        squared = _dot(self.residual, self.residual)
        ratio = torch.where(good, squared / self.squared, 0.0)
        self.squared = torch.where(good, squared, self.squared)
        self._keep_best(good)
        self.active = good & (self.squared.sqrt() > self.goal)
        self.direction = self.residual.addcmul(ratio, self.direction)

    def result(self, size: Tensor) -> LinearSolution:
        """Return what was found, scaled back to the size of the right-hand side."""
        relative = self.squared.sqrt() / torch.where(self.length > 0, self.length, 1.0)
        curvature = torch.where(self.smallest.isinf(), torch.nan, self.smallest)
        return LinearSolution(
            self.solution * size,
            self.iterations,
            relative.squeeze(1),
            curvature.squeeze(1),
            (self.squared.sqrt() <= self.goal).squeeze(1),
        )

    def _measure(self, curvature: Tensor) -> Tensor:
        """Record the curvature; stop members where it is not positive; return the others."""
        self.finite &= curvature.isfinite()
        total = curvature + self.damping
        smallest, largest = self.smallest.minimum(curvature), self.largest.maximum(total.abs())
        self.smallest = torch.where(self.active, smallest, self.smallest)
        self.largest = torch.where(self.active, largest, self.largest)
        noise = torch.finfo(total.dtype).eps * self.largest
        good: Tensor = self.active & (total > noise)
        halted = self.active & ~good
        self.stopped |= halted
        self.solution = torch.where(halted, self.best, self.solution)
        return good

    def _keep_best(self, moved: Tensor) -> None:
        better = moved & (self.squared < self.best_squared)
        torch.where(better, self.solution, self.best, out=self.best)
        self.best_squared = torch.where(better, self.squared, self.best_squared)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum(dim=1, keepdim=True)
