"""`StackedAdam`: Adam with decoupled weight decay, its own for each stacked network."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from dfl.models import Parameters
from dfl.scale import all_over_ranks

__all__ = ["StackedAdam"]

_MOMENTS = ("exp_avg", "exp_avg_sq")  # as torch calls them


@final
class StackedAdam:
    """Steps K networks at once; exactly as K separate optimisers would.

    Each step first shrinks the parameters of network k by ``1 - learning_rate *
    weight_decay[k]``, then takes torch's Adam step.

    Args:
        parameters: stacked parameters ``(K, ...)``; this object works on copies.
        learning_rate: step size, > 0.
        weight_decay: per network, >= 0. Shape ``(K,)``.
        averaged_steps: `frozen` returns an exponential average over about so many steps; up to
            1, the parameters as they are.

    Source:
        Loshchilov and Hutter (2019), arXiv:1711.05101, algorithm 2 (AdamW).
    """

    def __init__(
        self,
        parameters: Parameters,
        *,
        learning_rate: float,
        weight_decay: Tensor,
        averaged_steps: float = 0.0,
    ) -> None:
        # All numbers lie end to end in one tensor, so that a step is a few operations.
        self._shapes = {name: value.shape for name, value in parameters.items()}
        self._values = torch.cat([value.detach().flatten() for value in parameters.values()])
        self._decay = torch.cat(
            [weight_decay.repeat_interleave(shape[1:].numel()) for shape in self._shapes.values()]
        )
        self.parameters = {
            name: part.requires_grad_() for name, part in self._named(self._values).items()
        }
        fused = self._values.device.type in ("cpu", "cuda")
        self._adam = torch.optim.Adam([self._values], lr=learning_rate, fused=fused)
        self._learning_rate = learning_rate
        self._averaged_steps, self._steps = averaged_steps, 0
        self._average = self._values.clone() if averaged_steps > 1 else None
        self.scale_rate(1.0)

    def scale_rate(self, factor: float) -> None:
        """Take steps of ``factor`` times the learning rate from now on."""
        rate = factor * self._learning_rate
        self._adam.param_groups[0]["lr"] = rate
        self._keep = 1 - rate * self._decay

    def step(self, loss: Tensor) -> None:
        """Differentiate a loss ``(K,)``, one per network, and take a step.

        Where processes share the rows, the loss is this one's part of a sum over all.
        """
        gradients = torch.autograd.grad(
            loss.sum(), list(self.parameters.values()), materialize_grads=True
        )
        self.step_along(dict(zip(self.parameters, all_over_ranks(gradients), strict=True)))

    @torch.no_grad()
    def step_along(self, gradients: Parameters) -> None:
        """Take a step along gradients that are already there."""
        self._values.mul_(self._keep)
        self._values.grad = torch.cat([gradients[name].flatten() for name in self._shapes])
        self._adam.step()
        self._values.grad = None
        self._steps += 1
        if self._average is not None:
            # Young averages are plain means, so that the start is soon forgotten.
            self._average.lerp_(self._values, max(1 / self._averaged_steps, 1 / self._steps))

    def frozen(self) -> Parameters:
        """Return the current parameters, or their average, detached copies."""
        values = self._values if self._average is None else self._average
        return {name: part.clone() for name, part in self._named(values).items()}

    def state(self) -> dict[str, Tensor]:
        """Return everything needed to go on from here, as tensors apart from each other."""
        moments = self._adam.state[self._values]
        flat = {"value": self._values, "average": self._average}
        flat |= {key: moments.get(key) for key in _MOMENTS}
        tensors = {
            f"{key}/{name}": part.clone()
            for key, values in flat.items()
            if values is not None
            for name, part in self._named(values).items()
        }
        if not moments:
            return tensors
        return tensors | {f"step/{name}": moments["step"].cpu().clone() for name in self._shapes}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""

        def flat(key: str) -> Tensor:
            found = [tensors[f"{key}/{name}"].flatten() for name in self._shapes]
            return torch.cat(found).to(self._values.device)

        self._values.copy_(flat("value"))
        if self._average is not None:
            self._average.copy_(flat("average"))
        step = tensors.get(f"step/{next(iter(self._shapes))}")
        if step is None:
            return
        self._steps = int(step)
        fused = self._adam.defaults["fused"]  # then torch keeps the count beside the parameters
        counted = step.to(self._values.device if fused else "cpu", copy=True)
        self._adam.state[self._values] = {"step": counted} | {key: flat(key) for key in _MOMENTS}

    def _named(self, flat: Tensor) -> Parameters:
        """Return views of the numbers of one flat tensor by parameter."""
        parts = torch.split(flat, [shape.numel() for shape in self._shapes.values()])
        shaped = zip(self._shapes.items(), parts, strict=True)
        return {name: part.view(shape) for (name, shape), part in shaped}
