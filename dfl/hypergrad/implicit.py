"""`AbstractImplicit`: the implicit function theorem, however its linear system is solved."""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.func import vmap

from dfl.checks import check_choice, check_number
from dfl.errors import InvalidValueError
from dfl.hypergrad.base import (
    AbstractHypergradient,
    ComposedLoss,
    Diagnostics,
    Hypergradient,
    Loss,
    OnFailure,
    Parameters,
)
from dfl.hypergrad.curvature.base import Curvature
from dfl.hypergrad.curvature.linear_system import LinearSolution, require_converged
from dfl.hypergrad.curvature.point import Point, check_depends, check_finite, gradient, recording
from dfl.hypergrad.curvature.products import CURVATURES, CurvatureName, curvature_of
from dfl.scale import all_over_ranks, over_ranks

__all__ = ["AbstractImplicit", "several_hypergradients"]


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractImplicit(AbstractHypergradient):
    """Implicit function theorem: one linear system in the curvature of the inner loss.

    Returns ``dF/d outer - (d2f / d outer d inner) q`` where ``(H + damping I) q =
    dF/d inner``, ``f`` the inner and ``F`` the outer loss. The mixed derivative is exact;
    how ``q`` is found is the member's. Right where ``inner`` is a minimum of ``f``.

    Args:
        damping: added to the diagonal of ``H``, in its units (inner loss per squared
            parameter), >= 0. Stabilises, and shrinks the indirect part.
        rtol: a member is solved when ``|residual| <= rtol * |dF/d inner|``, no unit.
        curvature: what ``H`` is: ``"hessian"``, the exact one, which at another point than a
            minimum may have negative curvature; or ``"gauss-newton"`` for a `ComposedLoss`:
            ``J^T B J`` with ``J`` the Jacobian of the outputs and ``B`` the Hessian of the
            criterion in them. It is the Hessian itself where outputs are linear in
            ``inner``, near it where residuals are small, and with a convex criterion never
            negative, so that the system makes sense everywhere.
        on_failure: ``"raise"`` an error where ``rtol`` is missed, or ``"return"`` the answer
            so far, with what happened in ``diagnostics``.

    Raises:
        InvalidValueError: if an option is out of range; when called, if ``"gauss-newton"``
            is asked of an inner loss that is no `ComposedLoss`.

    Source:
        Pedregosa (2016), arXiv:1602.02355, equation 2; Schraudolph (2002),
        doi:10.1162/08997660260028683, for the Gauss-Newton matrix.
    """

    needs_optimum: ClassVar[bool] = True
    effort: ClassVar[str]
    """What brings a missed ``rtol`` nearer, for the message: ``"Raise terms"``."""

    damping: float = 0.0
    rtol: float = 1.0
    curvature: CurvatureName = "hessian"
    on_failure: OnFailure = "raise"

    def __post_init__(self) -> None:
        """Check the options."""
        check_number("damping", self.damping, at_least=0)
        check_choice("curvature", self.curvature, CURVATURES)
        check_choice("on_failure", self.on_failure, ("raise", "return"))
        self._check_options()

    @abstractmethod
    def _check_options(self) -> None:
        """Check ``rtol`` and the options that the member adds.

        Raises:
            InvalidValueError: if one is out of range.
        """

    @abstractmethod
    def _solve(self, curvature: Curvature, right_hand_side: Tensor) -> LinearSolution:
        """Solve ``(H + damping I) q = right_hand_side (members, n)``, or come near.

        Args:
            curvature: its ``product`` is ``H``.
            right_hand_side: ``dF/d inner``, finite.

        Returns:
            The solution and whether it is within ``rtol``, which the caller judges.

        Raises:
            InvalidValueError: if a product is not finite.
        """

    @final
    def __call__(
        self, inner_loss: Loss, outer_loss: Loss, inner: Parameters, outer: Parameters
    ) -> Hypergradient:
        """Return the hypergradient at ``inner``, a minimum of ``inner_loss``."""
        with recording():
            point = Point.at(inner, outer)
            curvature = curvature_of(self.curvature, inner_loss, point)
            layout = curvature.layout
            slope = layout.per_member(curvature.inner_gradient)
            check_finite(slope, "the gradient of inner_loss in inner")
            losses = {"inner_loss": inner_loss}
            check_depends([slope], losses, point, "inner")
            value = point.outer_value(outer_loss, layout.members)
            inputs = [*point.inner.values(), *point.outer.values()]
            slopes = all_over_ranks(gradient([value.sum()], inputs))
            right_hand_side = layout.flatten(slopes[: len(point.inner)])
            check_finite(layout.per_member(right_hand_side), "the gradient of outer_loss in inner")
            solution = self._solve(curvature, right_hand_side)
            if self.on_failure == "raise":
                self._require(solution)
            indirect = curvature.mixed(solution.solution)
            direct = zip(point.outer, slopes[len(point.inner) :], strict=True)
            outer_grad = {name: each - indirect[name] for name, each in direct}
            losses["outer_loss"] = outer_loss
            check_depends(outer_grad.values(), losses, point, "outer")
        for name, each in outer_grad.items():
            check_finite(each, f"the hypergradient of outer[{name!r}]")
        diagnostics = Diagnostics(
            solution.iterations,
            layout.per_member(solution.residual),
            layout.per_member(solution.curvature),
            layout.per_member(curvature.inner_gradient.norm(dim=1)),
        )
        return Hypergradient(outer_grad, over_ranks(value.detach()).clone(), diagnostics)

    def _require(self, solution: LinearSolution) -> None:
        exact = self.curvature == "hessian"
        require_converged(
            solution,
            rtol=self.rtol,
            damping=self.damping,
            matrix="inner Hessian" if exact else "Gauss-Newton matrix",
            remedy="train inner closer to a minimum of inner_loss, take curvature='gauss-newton'"
            if exact
            else "make the criterion convex in the outputs",
            effort=self.effort,
        )


def several_hypergradients(
    method: AbstractHypergradient,
    inner_loss: Loss,
    outer_losses: Iterable[Loss],
    inner: Parameters,
    outer: Parameters,
) -> Hypergradient:
    """Return the hypergradients of several outer losses at one inner optimum.

    The inner problem is repeated along a member axis, one copy per outer loss, so that all
    right-hand sides share each product. Each product costs as much as there are outer
    losses; fewer, wider operations are what is saved.

    Args:
        method: any hypergradient.
        inner_loss: ``f(inner, outer)``, a scalar, of operations that `torch.func.vmap` knows.
        outer_losses: at least one ``F(inner, outer)``, a scalar each.
        inner: inner parameters, without a member axis.
        outer: outer parameters, likewise.

    Returns:
        Everything with a leading axis of outer losses: ``outer_grad[name][k]`` is the
        derivative of outer loss ``k``, the rows of a Jacobian.

    Raises:
        InvalidValueError: if there is no outer loss, and as ``method`` does.
        ShapeError: if a loss is not a scalar.
    """
    losses = list(outer_losses)
    if not losses:
        raise InvalidValueError("outer_losses must hold at least one loss, got none.")
    given, count = Point.at(inner, outer), len(losses)

    def all_losses(inners: Parameters, outers: Parameters) -> Tensor:
        values = [
            loss(_member(inners, index), _member(outers, index))
            for index, loss in enumerate(losses)
        ]
        return torch.stack(values)

    inners, outers = (
        {name: value.detach().expand(count, *value.shape) for name, value in each.items()}
        for each in (given.inner, given.outer)
    )
    return method(_repeated(inner_loss), all_losses, inners, outers)


def _repeated(loss: Loss) -> Loss:
    if isinstance(loss, ComposedLoss):
        return ComposedLoss(vmap(loss.outputs), vmap(loss.criterion))
    repeated: Loss = vmap(loss)
    return repeated


def _member(parameters: Parameters, index: int) -> Parameters:
    return {name: value[index] for name, value in parameters.items()}
