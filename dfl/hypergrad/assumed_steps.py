"""`AssumedSteps`: the look-ahead steps that bilevel training takes before a hypergradient."""

from typing import final

import torch
from torch import Tensor

from dfl.errors import InvalidValueError
from dfl.hypergrad.base import Loss, Parameters
from dfl.hypergrad.look_ahead import largest_eigenvalue, look_ahead

__all__ = ["AssumedSteps"]

_POWER_ITERATIONS = 10


@final
class AssumedSteps:
    """Takes some descent steps from wherever training stands, and measures their length rarely.

    A step is 1 / largest curvature long, as `largest_eigenvalue` finds it at the first call
    after `measure_anew`; at later calls it is kept, and halved where a loss would rise.

    Args:
        steps: descent steps, >= 0; with 0 the parameters come back as they are.

    Raises:
        InvalidValueError: if ``steps`` is negative.
    """

    def __init__(self, steps: int) -> None:
        if steps < 0:
            raise InvalidValueError(f"steps must be >= 0, got {steps}.")
        self._steps = steps
        self._generator = torch.Generator().manual_seed(0)
        self._step_size: Tensor | None = None

    def measure_anew(self, generator: torch.Generator) -> None:
        """Forget the step size.

        Args:
            generator: draws the first vector of the next measurement.
        """
        self._generator, self._step_size = generator, None

    def __call__(self, loss: Loss, inner: Parameters, outer: Parameters) -> Parameters:
        """Return the stepped inner parameters, without a graph; nothing given is changed.

        Args:
            loss: inner loss, a scalar or one value per member.
            inner: where to start.
            outer: outer parameters.

        Raises:
            NotConvergedError: if a loss rises however short the step.
            InvalidValueError: if a loss is not finite, or has no curvature at all.
        """
        if not self._steps:
            return {name: value.detach() for name, value in inner.items()}
        if self._step_size is None:
            largest = largest_eigenvalue(
                loss, inner, outer, iterations=_POWER_ITERATIONS, generator=self._generator
            )
            self._step_size = 1 / largest
        return look_ahead(loss, inner, outer, steps=self._steps, step_size=self._step_size).inner
