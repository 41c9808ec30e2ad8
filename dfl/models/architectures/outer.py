"""`OuterNetwork`: what a bilevel method learns beside its target, per person and treatment."""

from typing import final

from torch import Tensor, nn

from dfl.models.architectures.base import Linear, dense

__all__ = ["OuterNetwork"]


@final
class OuterNetwork(nn.Module):
    """A multi-layer perceptron with several outputs per treatment, and no say on their meaning.

    The lower level that reads them says it: log-odds of trust in a teacher, log weights of
    rows, imputed outcomes.

    Args:
        hidden: units of each hidden layer.
        features: number of features F.
        channels: outputs per treatment C.
        treatments: number of treatments M.
        bias: starting value of the last layer's bias, or None for torch's own.
        flat: whether the last layer's weights start at 0, so that everybody starts alike.

    Shapes:
        features ``(N, F)`` -> ``(N, C, M)``.

    Source:
        arXiv:2510.19517, section 3, ``G_phi``.
    """

    stacks = True

    def __init__(
        self,
        hidden: tuple[int, ...],
        features: int,
        channels: int,
        treatments: int,
        *,
        bias: float | None = None,
        flat: bool = False,
    ) -> None:
        super().__init__()
        self.body, width = dense(features, hidden)
        self.head = Linear(width, channels * treatments)
        self.channels, self.treatments = channels, treatments
        if bias is not None:
            nn.init.constant_(self.head.bias, bias)
        if flat:
            nn.init.zeros_(self.head.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(N, C, M)``."""
        raw: Tensor = self.head(self.body(features))
        return raw.reshape(*raw.shape[:-1], self.channels, self.treatments)
