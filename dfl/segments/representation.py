"""`Representation`: the coordinates in which people are grouped."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor, nn

from dfl.checks import check_choice, check_count
from dfl.errors import InvalidValueError
from dfl.models import (
    AbstractArchitecture,
    AbstractModel,
    GroundedModel,
    NetworkEnsemble,
    StackedNetwork,
)
from dfl.scale import STREAMED
from dfl.segments.base import in_floats

__all__ = ["KINDS", "Kind", "Representation", "hidden_parameters"]

Kind: TypeAlias = Literal["hidden", "predictions", "features", "random"]
"""Hidden layers of the model, its predictions, the raw features, or numbers without meaning."""

KINDS: tuple[Kind, ...] = ("hidden", "predictions", "features", "random")

_KEPT = 0.95  # share of the variance that the principal axes kept hold
_DEAD = 1e-6  # standard deviation, relative to the largest, below which a hidden unit is dead


@final
@dataclass(frozen=True, eq=False)
class Representation:
    """Standardised coordinates of people, projected on the axes that hold 95 % of the variance.

    Args:
        kind: what the coordinates are made of.
        layers: of each network, how many of its first ones give the hidden representation.
        mean: of the raw coordinates, ``(H,)``.
        axes: from raw coordinates, less their mean, to the final ones, ``(H, D)``.
    """

    kind: Kind
    layers: int
    mean: Tensor
    axes: Tensor

    @staticmethod
    def fit(model: AbstractModel, features: Tensor, kind: Kind, layers: int) -> "Representation":
        """Learn means, scales and axes.

        Args:
            model: fitted; its networks, or those of the models in it, give hidden layers.
            features: of the people, shape ``(N, F)``.
            kind: what the coordinates are made of.
            layers: first layers of each network that count, >= 1; all where there are fewer.

        Raises:
            InvalidValueError: if an option is out of range, there is nobody, or hidden layers are
                asked of a model without networks.
        """
        check_choice("representation", kind, KINDS)
        check_count("layers", layers, at_least=1)
        features = in_floats(features)
        check_count("number of people", len(features), at_least=1)
        raw = _raw(model, features, kind, layers).double()
        mean, scale = raw.mean(dim=0), raw.std(dim=0, correction=0)
        # Hidden units share a unit; other columns have one each, and vary if rounding does less.
        rounds = torch.finfo(features.dtype).eps * mean.abs()
        alive = scale > (_DEAD * float(scale.max()) if kind == "hidden" else rounds)
        scaled = (raw - mean) / torch.where(alive, scale, torch.inf)
        value, vector = torch.linalg.eigh(scaled.mT @ scaled / len(raw))
        value, vector = value.flip(0).clamp(min=0), vector.flip(1)
        held = value.cumsum(0) / value.sum().clamp(min=torch.finfo(value.dtype).tiny)
        axes = vector[:, : int((held < _KEPT).sum()) + 1]
        # The sign of an axis is arbitrary, and differs between linear algebra libraries.
        axes = axes * axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()
        scaled_axes = axes / torch.where(alive, scale, torch.inf)[:, None]
        return Representation(kind, layers, mean.to(features), scaled_axes.to(features))

    @torch.no_grad()
    def __call__(self, model: AbstractModel, features: Tensor) -> Tensor:
        """Return the coordinates of people.

        Args:
            model: the one it was fitted for.
            features: shape ``(N, F)``.

        Returns:
            Shape ``(N, D)``.
        """
        features = features.to(self.mean)
        parts = [
            (_raw(model, features[rows], self.kind, self.layers) - self.mean) @ self.axes
            for rows in STREAMED.of(features.shape[0])
        ]
        return torch.cat(parts) if parts else features.new_zeros(0, self.axes.shape[1])


@torch.no_grad()
def _raw(model: AbstractModel, features: Tensor, kind: Kind, layers: int) -> Tensor:
    """Return coordinates as they come, ``(N, H)``."""
    if kind == "features":
        return features
    if kind == "random":
        return _without_meaning(features)
    if kind == "predictions":
        found = model.predict(features)
        return torch.cat([found.revenue, found.cost], dim=1).to(features)
    return torch.cat([_hidden(one, features, layers) for one in _ensembles(model)], dim=1)


def _ensembles(model: AbstractModel) -> Sequence[NetworkEnsemble]:
    if isinstance(model, NetworkEnsemble):
        return [model]
    if isinstance(model, GroundedModel):
        return [one for member in model.members for one in _ensembles(member)]
    raise InvalidValueError(
        f"a hidden representation needs a model of networks, got {type(model).__name__}; take "
        "representation 'predictions' or 'features'."
    )


def hidden_parameters(
    network: AbstractArchitecture, features: int, treatments: int, layers: int
) -> tuple[str, ...]:
    """Return the names of the parameters of a network's first layers, within its ``body``.

    Raises:
        InvalidValueError: if the network has no hidden layers.
    """
    with torch.device("meta"):  # the names alone are wanted, and no random numbers drawn
        first = _first(network, features, treatments, layers)
    names = tuple(name for name, _ in first.named_parameters())
    if not names:
        raise InvalidValueError(
            "a hidden representation needs hidden layers, the network has none; take "
            "representation 'predictions' or 'features'."
        )
    return names


def _first(network: AbstractArchitecture, features: int, treatments: int, layers: int) -> nn.Module:
    return network.build(features, treatments).body[: 2 * layers]  # a linear map and its ReLU


def _hidden(model: NetworkEnsemble, features: Tensor, layers: int) -> Tensor:
    """Return the output of the first layers of every member, side by side."""
    sizes = (model.network, model.scaling.width, model.treatments, layers)
    wanted = {f"body.{name}": name for name in hidden_parameters(*sizes)}
    own = {wanted[name]: one for name, one in model.parameters.items() if name in wanted}
    rows = model.scaling.standardise(features.to(model.scaling.feature_mean))
    found = StackedNetwork(lambda: _first(*sizes))(own, rows)  # (members, N, H)
    return found.movedim(0, 1).flatten(start_dim=1).to(features)


def _without_meaning(features: Tensor) -> Tensor:
    """Return a number in [0, 1) that depends on the features, and on nothing smoothly."""
    weight = torch.arange(1, features.shape[1] + 1, dtype=torch.float64, device=features.device)
    mixed = (features.double() @ weight.sqrt()).sin() * 1e6
    return (mixed - mixed.floor())[:, None].to(features)
