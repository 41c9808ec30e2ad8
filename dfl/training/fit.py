"""Stages that train networks on rows with one loss, from fresh weights."""

from collections.abc import Callable

from torch import Tensor

from dfl.losses.prediction import factual_loss
from dfl.models import Parameters
from dfl.training.loop import Stage, below
from dfl.training.monitor import Monitor
from dfl.training.networks import Networks
from dfl.training.rows import Batch
from dfl.training.settings import Rows, Training

__all__ = ["fit_beside", "fit_factual", "fit_rows"]


def fit_rows(
    name: str,
    networks: Networks,
    rows: Rows,
    training: Training,
    monitor: Monitor,
    loss: Callable[[Parameters, Batch], Tensor],
    *,
    by_rows: bool = False,
) -> Parameters:
    """Train networks on rows of their sets; kept is the epoch of least factual error.

    Args:
        name: of the stage.
        networks: the networks.
        rows: which training rows.
        training: settings of training.
        monitor: watches.
        loss: of the networks' parameters on a batch, one value per network ``(K,)``.
        by_rows: whether it is a mean over rows, see `Stage`.
    """
    stage = Stage(
        name=name,
        networks=networks,
        pool=networks.pool(lambda one: one.rows(rows)),
        training=training,
        loss=loss,
        criterion=networks.validation_error,
        by_rows=by_rows,
        monitor=monitor,
    )
    return stage.run(networks.initial(networks.stacked, name))


def fit_factual(
    name: str, networks: Networks, rows: Rows, training: Training, monitor: Monitor
) -> Parameters:
    """Train networks on the squared error at the treatment received; see `fit_rows`."""
    network = networks.stacked

    def loss(parameters: Parameters, batch: Batch) -> Tensor:
        return factual_loss(network(parameters, batch.features), batch.treatment, batch.outcome)

    return fit_rows(name, networks, rows, training, monitor, loss, by_rows=True)


def fit_beside(
    name: str,
    networks: Networks,
    rows: Rows,
    training: Training,
    monitor: Monitor,
    beside: Parameters,
    loss: Callable[[Parameters, Parameters, Batch], Tensor],
    *,
    by_rows: bool = False,
) -> Parameters:
    """Train networks and other parameters at once; return the networks', see `fit_rows`.

    Args:
        name: of the stage.
        networks: the networks.
        rows: which training rows.
        training: settings of training.
        monitor: watches.
        beside: initial values of the others, ``(K, ...)``.
        loss: of the networks' parameters and the others on a batch, ``(K,)``.
        by_rows: whether it is a mean over rows, see `Stage`.
    """
    own, others = "networks/", "beside/"
    initial = networks.initial(networks.stacked, name)
    stage = Stage(
        name=name,
        networks=networks,
        pool=networks.pool(lambda one: one.rows(rows)),
        training=training,
        loss=lambda both, batch: loss(below(both, own), below(both, others), batch),
        criterion=lambda both: networks.validation_error(below(both, own)),
        by_rows=by_rows,
        monitor=monitor,
    )
    start = {own + key: value for key, value in initial.items()}
    return below(stage.run(start | {others + key: value for key, value in beside.items()}), own)
