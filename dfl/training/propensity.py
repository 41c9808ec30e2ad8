"""`inverse_chances`: how rare each logged treatment was, learned from who received what."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from dfl.models import OuterNetwork, Parameters, StackedNetwork
from dfl.training.loop import Stage
from dfl.training.monitor import Monitor
from dfl.training.networks import Networks
from dfl.training.rows import Batch, RowPool
from dfl.training.settings import Training

__all__ = ["inverse_chances"]

_HIDDEN = (32,)


def inverse_chances(
    networks: Networks, least: float, training: Training, monitor: Monitor
) -> Tensor:
    """Return ``1 / (M max(e(t | x), least))`` of each observational row, as the pool has them.

    ``e`` is a network of one hidden layer trained by cross-entropy, the mean over a set's
    networks. Its last epoch is kept: validation rows are randomised, and tell nothing of the
    policy that chose the logged treatments.

    Args:
        networks: whose sets, seeds and weight decay are taken.
        least: chances below it count as it, in (0, 1].
        training: settings of training.
        monitor: watches.

    Returns:
        One weight per row of ``networks.pool`` of the observational rows. Shape ``(R,)``.
    """
    network = StackedNetwork(
        lambda: OuterNetwork(_HIDDEN, networks.features, 1, networks.treatments)
    )
    pool = networks.pool(lambda one: one.rows("obs"))

    def loss(parameters: Parameters, batch: Batch) -> Tensor:
        scores = network(parameters, batch.features).squeeze(-2)
        return cross_entropy(scores.mT, batch.treatment, reduction="none").mean(dim=-1)

    stage = Stage(
        name="propensity",
        networks=networks,
        pool=pool,
        training=training,
        loss=loss,
        by_rows=True,
        monitor=monitor,
    )
    fitted = stage.run(networks.initial(network, "propensity"))
    chance = _chances(network, fitted, networks, pool)
    received = chance.gather(-1, pool.treatment[:, None]).squeeze(-1)
    return 1 / (networks.treatments * received.clamp(min=least))


@torch.no_grad()
def _chances(
    network: StackedNetwork, parameters: Parameters, networks: Networks, pool: RowPool
) -> Tensor:
    """Predict every row of a pool by the mean of its set's networks, ``(R, M)``."""
    table = pool.features.new_empty(pool.features.shape[0], networks.treatments)
    for dataset in range(len(networks.sets)):
        own = {name: value[networks.learning(dataset)] for name, value in parameters.items()}
        for rows in pool.chunks(dataset):
            scores = network(own, pool.features[rows]).squeeze(-2)
            table[rows] = scores.softmax(dim=-1).mean(dim=0)
    return table
