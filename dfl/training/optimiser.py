"""`StackedAdam`: Adam with decoupled weight decay, its own for each stacked network."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from dfl.models import Parameters
from dfl.scale import all_over_ranks

__all__ = ["StackedAdam"]


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
        self.parameters = {
            name: value.detach().clone().requires_grad_() for name, value in parameters.items()
        }
        self._adam = torch.optim.Adam(self.parameters.values(), lr=learning_rate)
        self._learning_rate, self._weight_decay = learning_rate, weight_decay
        self._averaged_steps, self._steps = averaged_steps, 0
        self._average = self._copies() if averaged_steps > 1 else {}
        self.scale_rate(1.0)

    def scale_rate(self, factor: float) -> None:
        """Take steps of ``factor`` times the learning rate from now on."""
        rate = factor * self._learning_rate
        self._adam.param_groups[0]["lr"] = rate
        self._keep = 1 - rate * self._weight_decay

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
        for name, value in self.parameters.items():
            value.mul_(self._keep.reshape(-1, *(1,) * (value.ndim - 1)))
            value.grad = gradients[name]
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        self._steps += 1
        if self._average:
            # Young averages are plain means, so that the start is soon forgotten.
            share = max(1 / self._averaged_steps, 1 / self._steps)
            for name, mean in self._average.items():
                mean.lerp_(self.parameters[name], share)

    def frozen(self) -> Parameters:
        """Return the current parameters, or their average, detached copies."""
        if self._average:
            return {name: value.clone() for name, value in self._average.items()}
        return self._copies()

    def _copies(self) -> Parameters:
        return {name: value.detach().clone() for name, value in self.parameters.items()}

    def state(self) -> dict[str, Tensor]:
        """Return everything needed to go on from here, as flat tensors."""
        tensors = {f"value/{name}": value.detach() for name, value in self.parameters.items()}
        for name, value in self.parameters.items():
            for key, entry in self._adam.state[value].items():
                tensors[f"{key}/{name}"] = entry
        return tensors | {f"average/{name}": value for name, value in self._average.items()}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        for name, value in self.parameters.items():
            value.copy_(tensors[f"value/{name}"])
            if self._average:
                self._average[name].copy_(tensors[f"average/{name}"])
            kept = (f"value/{name}", f"average/{name}")
            own = [key for key in tensors if key.endswith(f"/{name}") and key not in kept]
            self._adam.state[value] = {
                # Adam keeps its step count on the CPU, the rest where the parameters are.
                key.removesuffix(f"/{name}"): tensors[key].clone()
                if key.startswith("step/")
                else tensors[key].to(value.device, copy=True)
                for key in own
            }
            self._steps = int(self._adam.state[value].get("step", 0))
