"""`CausE`: two sets of parameters, for logs and for randomised rows, held near each other."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.checks import check_number
from dfl.losses.prediction import factual_loss
from dfl.methods.base import AbstractNetworkMethod
from dfl.models import Parameters
from dfl.training.fit import fit_beside
from dfl.training.monitor import Monitor
from dfl.training.networks import Networks
from dfl.training.rows import Batch

__all__ = ["CausE"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class CausE(AbstractNetworkMethod):
    """Minimises ``factual(theta_R; RCT) + factual(theta_O; OBS) + beta |theta_R - theta_O|^2``.

    The factual loss is the mean over all rows, each predicted by the parameters of its own
    source. The randomised set ``theta_R`` serves.

    Args:
        beta: weight of the squared distance between the parameters, >= 0.
        network: architecture of both.
        training: settings of training.

    Raises:
        InvalidValueError: if ``beta`` is negative.

    Source:
        Bonner and Vasile (2018), arXiv:1706.07639, as a baseline of
        arXiv:2510.19517. Left open there for networks, decided here: all parameters take part in
        the distance, and both sets start from the same values.
    """

    beta: float = 0.01

    def __post_init__(self) -> None:
        """Check the weight."""
        super().__post_init__()
        check_number("beta", self.beta, at_least=0)

    def train(self, networks: Networks, monitor: Monitor) -> Parameters:
        """Train both sets together."""
        network = networks.stacked

        def loss(own: Parameters, beside: Parameters, batch: Batch) -> Tensor:
            outcomes = torch.where(
                batch.from_logs[..., None, None],
                network(beside, batch.features),
                network(own, batch.features),
            )
            gaps = [(own[name] - beside[name]).square().flatten(1).sum(dim=1) for name in own]
            factual = factual_loss(outcomes, batch.treatment, batch.outcome)
            return factual + self.beta * torch.stack(gaps).sum(dim=0)

        start = networks.initial(network, "target")
        return fit_beside(
            "target", networks, "both", self.training, monitor, start, loss, by_rows=True
        )
