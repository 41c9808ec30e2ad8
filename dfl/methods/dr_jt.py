"""`DrJt`: a doubly robust loss on logs, with imputed errors that are learned along."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from dfl.checks import check_count, check_number, check_several
from dfl.losses.prediction import doubly_robust_loss, factual_loss
from dfl.methods.base import AbstractNetworkMethod
from dfl.models import OuterNetwork, Parameters, StackedNetwork
from dfl.training.fit import fit_beside
from dfl.training.monitor import Monitor
from dfl.training.networks import Networks
from dfl.training.propensity import inverse_chances
from dfl.training.rows import Batch
from dfl.training.settings import Part

__all__ = ["DrJt"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class DrJt(AbstractNetworkMethod):
    """Minimises ``mean_i [mean_j e^_ij + w_i (e_i - e^_{i,t_i})]`` on logs, both outcomes added.

    ``e_i`` is the squared error at the treatment received, ``e^_ij = g_ij^2`` the one imputed by
    a second network ``g`` of the residual, which minimises ``mean_i w_i (y_i - y_hat_{i,t_i} -
    g_{i,t_i})^2``; ``w_i = 1 / (M max(e(t_i | x_i), least))``. Both move in every step.

    Args:
        least: chances ``e`` below it count as it, in (0, 1].
        hidden: units of the hidden layers of ``g``, all >= 1.
        network: architecture of the networks that serve.
        training: settings of training, for chances, residuals and outcomes alike.

    Raises:
        InvalidValueError: if a number is out of range.

    Source:
        Wang, Zhang, Sun and Qi (2019), ICML, joint learning, as a baseline of arXiv:2510.19517.
        Left open there, decided here: ``g`` starts at 0; ``y_hat + g`` is held constant where
        ``e^`` is differentiated, so that what is pulled to it is ``y_hat``; both steps of a
        turn are taken at once, on the same rows; chances as in `Ips`.
    """

    least: float = 0.05
    hidden: tuple[int, ...] = (32,)

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        check_number("least", self.least, above=0, at_most=1)
        check_several("hidden", self.hidden)
        for size in self.hidden:
            check_count("hidden sizes", size, at_least=1)

    @property
    def uses(self) -> tuple[Part, ...]:
        """Observational rows alone."""
        return ("obs",)

    def train(self, networks: Networks, monitor: Monitor) -> Parameters:
        """Learn the chances, then outcomes and residuals together."""
        weight = inverse_chances(networks, self.least, self.training, monitor)
        network = networks.stacked
        residual = StackedNetwork(
            lambda: OuterNetwork(
                self.hidden, networks.features, 2, networks.treatments, bias=0.0, flat=True
            )
        )

        def loss(own: Parameters, beside: Parameters, batch: Batch) -> Tensor:
            outcomes, left = network(own, batch.features), residual(beside, batch.features)
            rows = batch.treatment, batch.outcome, batch.gather(weight)
            fixed = outcomes.detach()
            served = doubly_robust_loss(outcomes, fixed + left.detach(), *rows)
            return served + factual_loss(fixed + left, *rows)

        start = networks.initial(residual, "residual")
        return fit_beside(
            "target", networks, "obs", self.training, monitor, start, loss, by_rows=True
        )
