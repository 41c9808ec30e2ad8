"""`StackedNetwork`: many networks of one shape, run as one by `torch.func.vmap`."""

from collections.abc import Callable, Sequence
from typing import TypeAlias, final

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

__all__ = ["Parameters", "StackedNetwork"]

Parameters: TypeAlias = dict[str, Tensor]


@final
class StackedNetwork:
    """K networks of one architecture whose parameters carry a leading axis of length K.

    Members of an ensemble, candidates of a tuning grid and seeds of a study are all just
    networks along that axis; they train in the time of a few.

    Args:
        build: returns one freshly initialised network.

    Source:
        "Model ensembling" in the documentation of torch.func.
    """

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        self._build = build
        with torch.device("meta"):
            self._template = build()

    def initial(self, seeds: Sequence[int]) -> Parameters:
        """Return parameters ``(K, ...)``, network k initialised from ``seeds[k]`` alone.

        The global generator of torch is left as it was.
        """
        drawn = []
        with torch.random.fork_rng(devices=[]):
            for seed in seeds:
                torch.manual_seed(seed)
                drawn.append({n: p.detach() for n, p in self._build().named_parameters()})
        return {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}

    def check(self, parameters: Parameters) -> None:
        """Check that parameters are of this architecture.

        Raises:
            ValueError: if a name or a shape is another one.
        """
        wanted = {name: tuple(p.shape) for name, p in self._template.named_parameters()}
        got = {name: tuple(p.shape[1:]) for name, p in parameters.items()}
        if wanted != got:
            odd = sorted(set(wanted.items()) ^ set(got.items()))
            raise ValueError(f"parameters must be {wanted}; {odd[0]} does not fit")

    def __call__(self, parameters: Parameters, features: Tensor) -> Tensor:
        """Apply network k to its own rows.

        Args:
            parameters: ``(K, ...)``.
            features: ``(K, N, F)``, or ``(N, F)`` where all networks see the same rows.

        Returns:
            Outputs ``(K, N, ...)``.
        """
        rows = 0 if features.ndim == 3 else None
        output: Tensor = vmap(self._one, in_dims=(0, rows))(parameters, features)
        return output

    def details(self, parameters: Parameters, features: Tensor) -> dict[str, Tensor]:
        """Return what outcome networks found on the way, `AbstractOutcomeNetwork.details`.

        Args:
            parameters: ``(K, ...)``.
            features: ``(K, N, F)``, or ``(N, F)``.

        Returns:
            Tensors with a leading axis of length K.
        """
        rows = 0 if features.ndim == 3 else None
        found: dict[str, Tensor] = vmap(self._found, in_dims=(0, rows))(parameters, features)
        return found

    def _one(self, parameters: Parameters, features: Tensor) -> Tensor:
        output: Tensor = functional_call(self._template, parameters, (features,))
        return output

    def _found(self, parameters: Parameters, features: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = functional_call(
            self._template, parameters, (features,), {"details": True}
        )
        return found
