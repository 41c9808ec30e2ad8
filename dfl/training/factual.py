"""`fit_factual`: squared error at the treatment received, the stage every method begins with."""

from torch import Tensor

from dfl.losses.prediction import factual_loss
from dfl.models import Parameters
from dfl.training.loop import Stage, purpose_of
from dfl.training.monitor import Monitor
from dfl.training.networks import Cohort
from dfl.training.rows import Batch
from dfl.training.settings import Rows, Training

__all__ = ["fit_factual"]


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
