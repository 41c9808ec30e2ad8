"""`RobustTrials`: the two-stage method by Huber's error, on randomised rows."""

from dataclasses import dataclass
from typing import final

from torch import Tensor
from torch.nn.functional import huber_loss

from dfl.checks import check_number
from dfl.losses.prediction import at_treatment
from dfl.methods import AbstractNetworkMethod, Monitor
from dfl.models import Parameters
from dfl.training.fit import fit_rows
from dfl.training.networks import Networks
from dfl.training.rows import Batch
from dfl.training.settings import Part

__all__ = ["RobustTrials"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class RobustTrials(AbstractNetworkMethod):
    """Minimises ``mean_i huber(r_i - r_hat_{i,t_i}) + huber(c_i - c_hat_{i,t_i})``, network units.

    Args:
        delta: errors above it count by their size instead of their square, > 0.
        network: architecture of each network.
        training: settings of training.

    Raises:
        InvalidValueError: if ``delta`` is not positive.
    """

    delta: float = 2.0

    def __post_init__(self) -> None:
        """Check the threshold."""
        check_number("delta", self.delta, above=0)

    @property
    def uses(self) -> tuple[Part, ...]:
        """Randomised rows alone."""
        return ("rct",)

    def train(self, networks: Networks, monitor: Monitor) -> Parameters:
        """Minimise the error; kept is the epoch of least squared error on validation rows."""
        network = networks.stacked

        def loss(parameters: Parameters, batch: Batch) -> Tensor:
            predicted = at_treatment(network(parameters, batch.features), batch.treatment)
            error = huber_loss(predicted, batch.outcome, reduction="none", delta=self.delta)
            return error.sum(dim=-1).mean(dim=-1)  # both outcomes, then rows: one per network

        return fit_rows("target", networks, "rct", self.training, monitor, loss)
