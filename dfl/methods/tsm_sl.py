"""`TsmSl`: the two-stage method with one network over all treatments."""

from dataclasses import dataclass, field
from typing import final

from torch import Tensor

from dfl.losses.prediction import factual_loss
from dfl.methods.base import AbstractMethod, Part
from dfl.methods.cohort import Cohort
from dfl.methods.monitor import Monitor
from dfl.methods.rows import Batch
from dfl.methods.stage import Stage, purpose_of
from dfl.methods.training import Rows, Training
from dfl.models import MLP, Parameters

__all__ = ["TsmSl", "fit_factual"]


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


def fit_factual(
    name: str, cohort: Cohort, rows: Rows, training: Training, monitor: Monitor
) -> Parameters:
    """Train a cohort's networks on the factual loss; the stage every method begins with.

    Args:
        name: of the stage.
        cohort: the networks.
        rows: which training rows.
        training: settings of training.
        monitor: watches.
    """
    network = cohort.network

    def loss(parameters: Parameters, batch: Batch) -> Tensor:
        return factual_loss(network(parameters, batch.features), batch.treatment, batch.outcome)

    stage = Stage(
        name=name,
        cohort=cohort,
        pool=cohort.pool(lambda one: one.rows(rows)),
        training=training,
        loss=loss,
        criterion=cohort.validation_error,
        monitor=monitor,
    )
    return stage.run(cohort.initial(network, purpose_of(name)))
