"""`ComposedLoss`: an inner loss whose network and criterion stand apart."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

from torch import Tensor

from dfl.hypergrad.base import Parameters

__all__ = ["ComposedLoss", "Outputs"]

Outputs: TypeAlias = Tensor | tuple[Tensor, ...]


@final
@dataclass(frozen=True, eq=False)
class ComposedLoss:
    """Computes ``criterion(outputs(inner, outer), outer)``, a loss that Gauss-Newton can split.

    Anything convex belongs in the criterion. A ridge penalty, say, is one more output:
    ``outputs`` returns ``(prediction, weights)`` and the criterion adds the two terms.

    Args:
        outputs: network outputs, ``(inner, outer) -> tensor`` or tuple of tensors of any
            shape.
        criterion: ``(outputs, outer) ->`` scalar, or one value per member ``(members,)``.
            Given what ``outputs`` returned; convex in it (least squares, cross-entropy),
            so that its Hessian in the outputs is positive semi-definite.
    """

    outputs: Callable[[Parameters, Parameters], Outputs]
    criterion: Callable[[Any, Parameters], Tensor]  # Any: a tensor or a tuple, as outputs gives

    def __call__(self, inner: Parameters, outer: Parameters) -> Tensor:
        """Return the loss. Shape ``()``, or ``(members,)``."""
        return self.criterion(self.outputs(inner, outer), outer)
