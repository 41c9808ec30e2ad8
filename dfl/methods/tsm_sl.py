"""`TsmSl`: the two-stage method with one network over all treatments."""

from dataclasses import dataclass, field
from typing import final

from dfl.methods.base import AbstractMethod, Part
from dfl.models import MLP, Parameters
from dfl.training.factual import fit_factual
from dfl.training.monitor import Monitor
from dfl.training.networks import Cohort
from dfl.training.settings import Rows, Training

__all__ = ["TsmSl"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class TsmSl(AbstractMethod):
    """Predicts first, decides afterwards: squared error at the treatment received.

    ``loss = mean_i (r_i - r_hat_{i,t_i})^2 + (c_i - c_hat_{i,t_i})^2`` in network units.

    Args:
        rows: which rows to train on; ``"both"`` puts them together.
        network: sizes of each network.
        training: settings of training.

    Source:
        arXiv:2407.13664 and arXiv:2510.19517, baseline TSM-SL, with a multi-head network.
    """

    rows: Rows = "both"
    network: MLP = field(default_factory=MLP)
    training: Training = field(default_factory=Training)

    @property
    def uses(self) -> tuple[Part, ...]:
        """The parts named by ``rows``."""
        return ("rct", "obs") if self.rows == "both" else (self.rows,)

    def train(self, cohort: Cohort, monitor: Monitor) -> Parameters:
        """Minimise the factual loss."""
        return fit_factual("target", cohort, self.rows, self.training, monitor)
