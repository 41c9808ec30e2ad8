"""`TsmSl`: the two-stage method with one network over all treatments."""

from dataclasses import dataclass
from typing import final, get_args

from dfl.checks import check_choice
from dfl.methods.base import AbstractNetworkMethod
from dfl.models import Parameters
from dfl.training.fit import fit_factual
from dfl.training.monitor import Monitor
from dfl.training.networks import Networks
from dfl.training.settings import Part, Rows, parts_of

__all__ = ["TsmSl"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class TsmSl(AbstractNetworkMethod):
    """Predicts first, decides afterwards: squared error at the treatment received.

    ``loss = mean_i (r_i - r_hat_{i,t_i})^2 + (c_i - c_hat_{i,t_i})^2`` in network units.

    Args:
        rows: which rows to train on; ``"both"`` puts them together.
        network: architecture of each network.
        training: settings of training.

    Raises:
        InvalidValueError: if ``rows`` is none of these words.

    Source:
        arXiv:2407.13664 and arXiv:2510.19517, baseline TSM-SL, with a multi-head network.
        Deviations, in every method that minimises the factual loss: squared errors for binary
        outcomes, too, where the first paper takes cross-entropy; kept is the epoch of least
        factual error, not of the best AUCC or EOM, on validation rows.
    """

    rows: Rows = "both"

    def __post_init__(self) -> None:
        """Check the word."""
        super().__post_init__()
        check_choice("rows", self.rows, get_args(Rows))

    @property
    def uses(self) -> tuple[Part, ...]:
        """The parts named by ``rows``."""
        return parts_of(self.rows)

    def train(self, networks: Networks, monitor: Monitor) -> Parameters:
        """Minimise the factual loss."""
        return fit_factual("target", networks, self.rows, self.training, monitor)
