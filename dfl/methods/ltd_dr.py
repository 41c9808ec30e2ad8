"""`LtdDr`: learning to debias, doubly robust: weights and labels of the logs, learned by an RCT."""

from dataclasses import dataclass, field
from typing import final

from torch import Tensor

from dfl.hypergrad import AbstractHypergradient
from dfl.losses.prediction import doubly_robust_loss
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
from dfl.training.fit import fit_factual
from dfl.training.levels import FactualLevel, LowerLevel, row_factor
from dfl.training.monitor import Monitor
from dfl.training.networks import Networks
from dfl.training.rows import Batch

__all__ = ["LtdDr"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class LtdDr(AbstractNetworkMethod):
    """``min_phi factual(theta*(phi); RCT)``, ``theta*`` optimal for a doubly robust loss on logs.

    ``mean_i [sum_j (m_ij - f_ij)^2 / M + w_i ((y_i - f_it)^2 - (m_it - f_it)^2)]`` over both
    outcomes, ``m`` imputed outcomes, ``w`` weights of rows: ``phi`` moves both.

    Args:
        hypergrad: derivative of the upper level through the lower.
        upper: how ``phi`` is built and learned.
        network: architecture of imputation and target.
        training: settings of training.

    Raises:
        InvalidValueError: if a part is something else, as its name or its class.

    Source:
        Wang, Zhang, Sun and Qi (2021), WSDM, LTD-DR. Left open there, decided here: ``phi`` starts
        at ``w = N / (M N_t)`` and at outcomes imputed by networks of the factual loss on the
        logs; it multiplies the weights and adds to the imputed outcomes.
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
        """Impute, then train the target and ``phi`` together."""
        logs = networks.pool(lambda one: one.rows("obs"))
        imputation = fit_factual("imputation", networks, "obs", self.training, monitor)
        imputed = networks.ensemble_outcomes(imputation, logs)
        weight = networks.arm_weight(logs)

        def lower(outcomes: Tensor, batch: Batch, phi: Tensor) -> Tensor:
            row = weight.gather(-1, batch.treatment) * row_factor(phi, batch.treatment)
            moved = batch.gather(imputed) + phi[..., 1:, :]
            return doubly_robust_loss(outcomes, moved, batch.treatment, batch.outcome, row)

        problem = Bilevel(
            lower=LowerLevel(networks, logs, lower),
            upper=FactualLevel(),
            rows=networks.pool(lambda one: one.rows("rct")),
            outer=Outer(channels=3, reading=lambda phi: phi, bias=0.0, flat=True),
            hypergrad=self.hypergrad,
            settings=self.upper,
            training=self.training,
        )
        return problem.run("target", monitor)[0]
