"""`Ips`: the factual loss on logs, each row weighted by how rare its treatment was."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from dfl.checks import check_number
from dfl.losses.prediction import factual_loss
from dfl.methods.base import AbstractNetworkMethod
from dfl.models import Parameters
from dfl.training.fit import fit_rows
from dfl.training.monitor import Monitor
from dfl.training.networks import Networks
from dfl.training.propensity import inverse_chances
from dfl.training.rows import Batch
from dfl.training.settings import Part

__all__ = ["Ips"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Ips(AbstractNetworkMethod):
    """Minimises ``mean_i w_i [(r_i - r_hat_{i,t_i})^2 + (c_i - c_hat_{i,t_i})^2]`` on logs.

    ``w_i = 1 / (M max(e(t_i | x_i), least))``: with the true chances ``e`` and nothing clipped,
    the loss is on average the error over all people and all treatments.

    Args:
        least: chances below it count as it, in (0, 1]; with 1 all rows weigh alike.
        network: architecture of each network.
        training: settings of training, for chances and outcomes alike.

    Raises:
        InvalidValueError: if ``least`` is out of range.

    Source:
        Schnabel et al. (2016), arXiv:1602.05352, as a baseline of arXiv:2510.19517.
        Left open there, decided here: the chances come from a network of one hidden layer
        learned on the same logs, also where the data set tells them; clipped at ``least``.
    """

    least: float = 0.05

    def __post_init__(self) -> None:
        """Check the range."""
        super().__post_init__()
        check_number("least", self.least, above=0, at_most=1)

    @property
    def uses(self) -> tuple[Part, ...]:
        """Observational rows alone."""
        return ("obs",)

    def train(self, networks: Networks, monitor: Monitor) -> Parameters:
        """Learn the chances, then the outcomes."""
        weight = inverse_chances(networks, self.least, self.training, monitor)
        network = networks.stacked

        def loss(parameters: Parameters, batch: Batch) -> Tensor:
            outcomes = network(parameters, batch.features)
            return factual_loss(outcomes, batch.treatment, batch.outcome, batch.gather(weight))

        return fit_rows("target", networks, "obs", self.training, monitor, loss, by_rows=True)
