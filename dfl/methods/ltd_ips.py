"""`LtdIps`: learning to debias by weights: what each logged row counts, learned by an RCT."""

from dataclasses import dataclass, field
from typing import final

from torch import Tensor

from dfl.hypergrad import AbstractHypergradient
from dfl.losses.prediction import factual_loss
from dfl.methods.base import AbstractNetworkMethod
from dfl.models import Parameters
from dfl.training.bilevel import (
    ANY_HYPERGRADIENT,
    Bilevel,
    BilevelSettings,
    Outer,
    check_upper,
    default_hypergradient,
)
from dfl.training.levels import FactualLevel, LowerLevel, row_factor
from dfl.training.monitor import Monitor
from dfl.training.networks import Networks
from dfl.training.rows import Batch

__all__ = ["LtdIps"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class LtdIps(AbstractNetworkMethod):
    """``min_phi factual(theta*(phi); RCT)``, ``theta*`` optimal for a weighted loss on logs.

    ``mean_i w_i (y_i - f_{i,t_i})^2`` over both outcomes; ``phi`` moves the weights ``w``.

    Args:
        hypergrad: derivative of the upper level through the lower; one unrolled step with
            ``upper.steps=0`` is the published form.
        upper: how ``phi`` is built and learned.
        network: architecture of the target.
        training: settings of training.

    Raises:
        InvalidValueError: if a part is something else, as its name or its class.

    Source:
        Wang, Zhang, Sun and Qi (2021), WSDM, LTD-IPS. Left open there, decided here: ``phi`` starts
        at ``w = N / (M N_t)`` and multiplies it by a factor of ``x`` and ``t`` between 1/20 and 20.
    """

    hypergrad: AbstractHypergradient = field(
        default_factory=default_hypergradient, metadata=ANY_HYPERGRADIENT
    )
    upper: BilevelSettings = field(default_factory=BilevelSettings)

    def __post_init__(self) -> None:
        """Check the parts."""
        super().__post_init__()
        check_upper(self.hypergrad, self.upper)

    def train(self, networks: Networks, monitor: Monitor) -> Parameters:
        """Train the target and ``phi`` together."""
        logs = networks.pool(lambda one: one.rows("obs"))
        weight = networks.arm_weight(logs)

        def lower(outcomes: Tensor, batch: Batch, phi: Tensor) -> Tensor:
            row = weight.gather(-1, batch.treatment) * row_factor(phi, batch.treatment)
            return factual_loss(outcomes, batch.treatment, batch.outcome, row)

        problem = Bilevel(
            lower=LowerLevel(networks, logs, lower),
            upper=FactualLevel(),
            rows=networks.pool(lambda one: one.rows("rct")),
            outer=Outer(channels=1, reading=lambda phi: phi, bias=0.0, flat=True),
            hypergrad=self.hypergrad,
            settings=self.upper,
            training=self.training,
        )
        return problem.run("target", monitor)[0]
