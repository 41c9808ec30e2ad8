"""`LinearStack`: outputs of a plain multi-layer perceptron, whose products are written out."""

from typing import Final, final

from torch import Tensor, nn

from dfl.errors import ShapeError, UnsupportedProblemError
from dfl.hypergrad.base import Parameters

__all__ = ["ACTIVATIONS", "LinearStack"]

ACTIVATIONS: Final[tuple[type[nn.Module], ...]] = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.Softplus,
    nn.Identity,
)


@final
class LinearStack:
    """Computes the outputs of an ``nn.Sequential`` of linear layers and activations.

    ``ComposedLoss(LinearStack(network, features), criterion)`` is the same loss as one built by
    `torch.func.functional_call`, and its Hessian and Gauss-Newton products are quicker: they
    are written layer by layer, without autograd.

    Args:
        network: ``Linear`` layers, and between them elementwise activations of
            `ACTIVATIONS`. Parameters that ``inner`` does not name are taken from it and count
            as frozen.
        features: rows, ``(rows, inputs)``, or ``(members, rows, inputs)``.
        with_parameters: outputs are then ``(predictions, *inner values)``, so that the
            criterion can penalise parameters.

    Raises:
        UnsupportedProblemError: if the network is built otherwise.
        ShapeError: if ``features`` does not fit the first layer.
    """

    def __init__(
        self, network: nn.Sequential, features: Tensor, *, with_parameters: bool = False
    ) -> None:
        for index, layer in enumerate(network):
            kinds = (nn.Linear,) if index % 2 == 0 else ACTIVATIONS
            if not isinstance(layer, kinds):
                raise UnsupportedProblemError(
                    "network must alternate Linear layers and elementwise activations, got "
                    f"{type(layer).__name__} at {index}: give ComposedLoss a function that uses "
                    "torch.func.functional_call instead."
                )
        if len(network) % 2 == 0:
            raise UnsupportedProblemError(
                f"network must end with a Linear layer, got {len(network)} layers: put a last "
                "activation into the criterion."
            )
        first = network[0]
        assert isinstance(first, nn.Linear)  # checked above
        inputs = first.in_features
        if features.ndim not in (2, 3) or features.shape[-1] != inputs:
            raise ShapeError(
                f"features must be (rows, {inputs}) or (members, rows, {inputs}), got "
                f"{tuple(features.shape)}."
            )
        self.network, self.features, self.with_parameters = network, features, with_parameters

    def __call__(self, inner: Parameters, outer: Parameters) -> Tensor | tuple[Tensor, ...]:
        """Return predictions ``(rows, outputs)``, or ``(members, rows, outputs)``."""
        hidden = self.features
        for index, layer in enumerate(self.network):
            if isinstance(layer, nn.Linear):
                weight, bias = self.parameters_of(index, inner)
                hidden = hidden @ weight.mT
                hidden = hidden if bias is None else hidden + bias.unsqueeze(-2)
            else:
                hidden = layer(hidden)
        return (hidden, *inner.values()) if self.with_parameters else hidden

    def parameters_of(self, index: int, inner: Parameters) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias of a linear layer, frozen ones from the network."""
        layer = self.network[index]
        assert isinstance(layer, nn.Linear)
        weight = inner.get(f"{index}.weight", layer.weight.detach())
        own: Tensor | None = layer.bias  # None without bias, whatever torch's annotation says
        frozen = None if own is None else own.detach()
        return weight, inner.get(f"{index}.bias", frozen)
