"""`Exact`: implicit function theorem with the inner Hessian formed and factored."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from dfl.checks import check_count, check_number
from dfl.errors import InvalidValueError
from dfl.hypergrad.curvature.base import Curvature, Product
from dfl.hypergrad.curvature.linear_system import LinearSolution, balance, check_products
from dfl.hypergrad.implicit import AbstractImplicit

__all__ = ["Exact", "dense"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Exact(AbstractImplicit):
    """Implicit function theorem, solved directly: for small problems, and as the truth in tests.

    As `AbstractImplicit`, with ``H`` formed column by column and factored in float64. An
    indefinite ``H`` is solved all the same; ``diagnostics.curvature`` is its smallest
    eigenvalue, so a saddle shows. A singular one is solved where the system has a solution,
    by the shortest.

    Args:
        damping: as in `AbstractImplicit`.
        rtol: goal for the relative residual, in (0, 1]; missed only where the system has no
            solution.
        max_size: most inner parameters per member; time and memory grow with its cube and
            square.
        curvature: as in `AbstractImplicit`; ``"gauss-newton"`` is the truth of what
            `GaussNewton` approaches.
        on_failure: ``"raise"`` an error where ``rtol`` is missed, or ``"return"`` the answer
            that comes nearest.

    Raises:
        InvalidValueError: if an option is out of range; when called, if ``inner`` is larger
            than ``max_size``.

    Source:
        Bengio (2000), Gradient-based optimization of hyperparameters,
        doi:10.1162/089976600300015187, equation 8.
    """

    effort: ClassVar[str] = "Leave parameters without effect out of inner"

    rtol: float = 1e-6
    max_size: int = 2048

    def _check_options(self) -> None:
        check_number("rtol", self.rtol, above=0, at_most=1)
        check_count("max_size", self.max_size, at_least=1)

    def _solve(self, curvature: Curvature, right_hand_side: Tensor) -> LinearSolution:
        size = right_hand_side.shape[1]
        if size > self.max_size:
            raise InvalidValueError(
                f"inner must hold at most max_size = {self.max_size} numbers per member, got "
                f"{size}: the matrix alone would take {8e-9 * size**2:.2g} GB. Use "
                "ConjugateGradient or GaussNewton, which form no matrix, or raise max_size."
            )
        return dense(curvature.product, right_hand_side, damping=self.damping, rtol=self.rtol)


def dense(
    product: Product, right_hand_side: Tensor, *, damping: float = 0.0, rtol: float
) -> LinearSolution:
    """Solve ``(A + damping I) x = b`` by factorising the matrix, in float64.

    A member whose matrix is positive definite is solved by Cholesky. Where it is not, the
    eigenvalues say what to do: an indefinite matrix has an inverse all the same; a singular
    one has a solution where ``b`` lies in its range, and the shortest one is returned.
    What is left of ``b`` outside the range shows up in the residual.

    Args:
        product: ``v -> A v``, symmetric; called ``n`` times.
        right_hand_side: ``b``. Shape ``(members, n)``.
        damping: added to the diagonal, in units of ``A``, >= 0.
        rtol: a member counts as converged when ``|residual| <= rtol * |b|``.

    Returns:
        The solution in the dtype of ``b``; ``curvature`` is the smallest eigenvalue of
        ``A``.

    Raises:
        ShapeError: if ``right_hand_side`` is not ``(members, n)``.
        InvalidValueError: if a product is not finite.

    Source:
        Golub and Van Loan (2013), Matrix Computations, sections 4.2 and 5.5.
    """
    size = balance(right_hand_side)
    target = (right_hand_side / size).double()
    matrix = _matrix(product, right_hand_side)
    values = torch.linalg.eigvalsh(matrix)
    smallest = values[:, 0]
    matrix.diagonal(dim1=1, dim2=2).add_(damping)
    # Cholesky may pass a singular matrix, so the eigenvalues decide as well.
    noise = matrix.shape[1] * torch.finfo(values.dtype).eps * (values.abs().amax(1) + damping)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    definite = (failed == 0) & (smallest + damping > noise)
    solution = torch.zeros_like(target)
    solution[definite] = torch.cholesky_solve(
        target[definite].unsqueeze(2), factor[definite]
    ).squeeze(2)
    solution[~definite] = _by_eigenvalues(matrix[~definite], target[~definite])
    gap = target - (matrix @ solution.unsqueeze(2)).squeeze(2)
    length = target.norm(dim=1)
    residual = (gap.norm(dim=1) / torch.where(length > 0, length, 1.0)).to(size)
    return LinearSolution(
        solution.to(size) * size,
        right_hand_side.shape[1],
        residual,
        smallest.to(size),
        residual <= rtol,
    )


def _matrix(product: Product, like: Tensor) -> Tensor:
    """Return the symmetric part of the matrix, in float64. Shape ``(members, n, n)``."""
    rows = []
    for index in range(like.shape[1]):
        unit = torch.zeros_like(like)
        unit[:, index] = 1
        rows.append(product(unit).double())
    matrix = torch.stack(rows, dim=1)
    check_products(matrix.isfinite())
    return (matrix + matrix.mT) / 2


def _by_eigenvalues(matrix: Tensor, target: Tensor) -> Tensor:
    """Return the shortest of the best solutions. Eigenvalues at rounding level count as 0."""
    values, vectors = torch.linalg.eigh(matrix)
    size = values.abs()
    noise = matrix.shape[1] * torch.finfo(values.dtype).eps * size.amax(dim=1, keepdim=True)
    inverse = torch.where(size > noise, 1 / torch.where(size > noise, values, 1.0), 0.0)
    inside = (vectors.mT @ target.unsqueeze(2)).squeeze(2)
    solution: Tensor = (vectors @ (inverse * inside).unsqueeze(2)).squeeze(2)
    return solution
