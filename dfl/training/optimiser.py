"""`StackedAdam`: Adam with decoupled weight decay, its own for each stacked network."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor
from torch.optim.adam import adam

from dfl.models import Parameters
from dfl.scale import all_over_ranks

__all__ = ["StackedAdam"]

_BETAS, _EPS = (0.9, 0.999), 1e-8  # as torch's own


@final
class StackedAdam:
    """Steps K networks at once; exactly as K separate optimisers would.

    Each step first shrinks the parameters of network k by ``1 - learning_rate *
    weight_decay[k]``, then takes torch's Adam step: by the function, because to make an object of
    `torch.optim` imports the compiler, two seconds in every process.

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
        self._mean = torch.zeros_like(self._values)
        self._square = torch.zeros_like(self._values)
        self._fused = self._values.device.type in ("cpu", "cuda")
        # Counted beside the parameters where fused, so that no step waits for a GPU.
        device = self._values.device if self._fused else "cpu"
        self._count = torch.zeros((), dtype=torch.float32, device=device)
        self._learning_rate = learning_rate
        self._averaged_steps, self._steps = averaged_steps, 0
        self._average = self._values.clone() if averaged_steps > 1 else None
        self.scale_rate(1.0)

    def scale_rate(self, factor: float) -> None:
        """Take steps of ``factor`` times the learning rate from now on."""
        self._rate = factor * self._learning_rate
        self._keep = 1 - self._rate * self._decay

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
        gradient = torch.cat([gradients[name].flatten() for name in self._shapes])
        adam(
            [self._values],
            [gradient],
            [self._mean],
            [self._square],
            [],
            [self._count],
            foreach=False,
            fused=self._fused,
            amsgrad=False,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            lr=self._rate,
            weight_decay=0.0,
            eps=_EPS,
            maximize=False,
        )
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
        tensors = {
            f"{key}/{name}": part.clone()
            for key, values in self._flat().items()
            for name, part in self._named(values).items()
        }
        return tensors | {f"step/{name}": self._count.cpu().clone() for name in self._shapes}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        for key, values in self._flat().items():
            values.copy_(torch.cat([tensors[f"{key}/{name}"].flatten() for name in self._shapes]))
        self._count.copy_(tensors[f"step/{next(iter(self._shapes))}"])
        self._steps = int(self._count)

    def _flat(self) -> dict[str, Tensor]:
        """Return the flat tensors that a step changes."""
        flat = {"value": self._values, "exp_avg": self._mean, "exp_avg_sq": self._square}
        return flat if self._average is None else flat | {"average": self._average}

    def _named(self, flat: Tensor) -> Parameters:
        """Return views of the numbers of one flat tensor by parameter."""
        parts = torch.split(flat, [shape.numel() for shape in self._shapes.values()])
        shaped = zip(self._shapes.items(), parts, strict=True)
        return {name: part.view(shape) for (name, shape), part in shaped}
