"""The weight of the logged people who received what a policy would have given them."""

from typing import Any, final

from torch import Tensor
from torch.autograd import Function

from dfl.errors import InvalidValueError

__all__ = ["matched_weight"]


def matched_weight(weighted: Tensor) -> Tensor:  # (..., N) -> (...)
    """Return the sum over people, and refuse a policy that nobody was seen to follow.

    Args:
        weighted: weight times share of the treatment received, >= 0. Shape ``(..., N)``.

    Returns:
        Sum > 0, with derivatives of all orders. Shape ``(...)``.

    Raises:
        InvalidValueError: if a sum is 0.
    """
    found: Tensor = _Sum.apply(weighted)  # type: ignore[no-untyped-call]
    return found


@final
class _Sum(Function):
    """A function, so that the check sees plain numbers under `torch.func.vmap` too."""

    @staticmethod
    def forward(weighted: Tensor) -> Tensor:
        total = weighted.sum(dim=-1)
        if bool((total <= 0).any()):
            raise InvalidValueError(
                "some logged person must have received the treatment that the policy chooses, "
                f"got none in {weighted.shape[-1]} rows; take larger batches, a softer layer, or "
                "the estimator horvitz-thompson."
            )
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.rows = inputs[0].shape[-1]

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return slope.unsqueeze(-1).expand(*slope.shape, ctx.rows)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return tangent.sum(dim=-1)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], weighted: Tensor) -> tuple[Tensor, int]:
        return _Sum.apply(weighted.movedim(in_dims[0], 0)), 0  # type: ignore[no-untyped-call]
