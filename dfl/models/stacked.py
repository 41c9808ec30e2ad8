"""`StackedNetwork`: many networks of one shape, run as one."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, final

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from dfl.models.own_draws import OwnDraws

__all__ = ["Parameters", "StackedNetwork"]

Parameters: TypeAlias = dict[str, Tensor]


@final
class StackedNetwork:
    """K networks of one architecture whose parameters carry a leading axis of length K.

    Members of an ensemble, candidates of a tuning grid and seeds of a study are all just
    networks along that axis; they train in the time of a few. An architecture that says it
    ``stacks`` is called once for all, any other by ``vmap``.

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

        They are on the CPU and float32 whatever torch's defaults. Those and torch's own generator
        are left alone, so that threads can do so at once.
        """
        drawn = []
        for seed in seeds:
            with torch.device("cpu"), OwnDraws(torch.Generator().manual_seed(seed)):
                network = self._build()
            drawn.append({n: p.detach().float() for n, p in network.named_parameters()})
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
        output: Tensor = self._all(parameters, features)
        return output

    def details(self, parameters: Parameters, features: Tensor) -> dict[str, Tensor]:
        """Return what outcome networks found on the way, `AbstractOutcomeNetwork.details`.

        Args:
            parameters: ``(K, ...)``.
            features: ``(K, N, F)``, or ``(N, F)``.

        Returns:
            Tensors with a leading axis of length K.
        """
        found: dict[str, Tensor] = self._all(parameters, features, details=True)
        return found

    def _all(self, parameters: Parameters, features: Tensor, **options: bool) -> Any:
        if getattr(self._template, "stacks", False):
            size = next(iter(parameters.values())).shape[0]
            rows = features.expand(size, *features.shape[-2:])
            return functional_call(self._template, parameters, (rows,), options)

        def one(own: Parameters, rows: Tensor) -> Any:
            return functional_call(self._template, own, (rows,), options)

        return vmap(one, in_dims=(0, 0 if features.ndim == 3 else None))(parameters, features)
