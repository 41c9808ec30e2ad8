"""`AutoDebias`: weights of logged rows and of imputed outcomes, and these, learned by an RCT."""

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
from dfl.training.fit import fit_factual
from dfl.training.levels import FactualLevel, LowerLevel, row_factor
from dfl.training.monitor import Monitor
from dfl.training.networks import Networks
from dfl.training.rows import Batch

__all__ = ["AutoDebias"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class AutoDebias(AbstractNetworkMethod):
    """``min_phi factual(theta*(phi); RCT)``, ``theta*`` optimal for two weighted losses on logs.

    ``mean_i [w_i (y_i - f_{i,t_i})^2 + sum_j v_ij (m_ij - f_ij)^2 / M]`` over both outcomes: the
    rows as observed, and every treatment as imputed; ``phi`` moves ``w``, ``v`` and ``m``.

    Args:
        hypergrad: derivative of the upper level through the lower; one unrolled step with
            ``upper.steps=0`` is the published form.
        upper: how ``phi`` is built and learned.
        network: architecture of imputation and target.
        training: settings of training.

    Raises:
        InvalidValueError: if a part is something else, as its name or its class.

    Source:
        Chen et al. (2021), SIGIR, arXiv:2105.04170, AutoDebias. Left open there, decided here:
        ``phi`` starts at ``w = N / (M N_t)``, ``v = 1`` and at outcomes imputed by networks of the
        factual loss on the logs; it multiplies the weights, by factors between 1/20 and 20,
        and adds to the imputed outcomes. One network in place of a linear map for each.
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
            cell = phi[..., 1, :].clamp(-3, 3).exp()
            moved = batch.gather(imputed) + phi[..., 2:, :]
            everywhere = cell * (moved - outcomes).square().sum(dim=-2)
            seen = factual_loss(outcomes, batch.treatment, batch.outcome, row)
            return seen + everywhere.mean(dim=(-2, -1))

        problem = Bilevel(
            lower=LowerLevel(networks, logs, lower),
            upper=FactualLevel(),
            rows=networks.pool(lambda one: one.rows("rct")),
            outer=Outer(channels=4, reading=lambda phi: phi, bias=0.0, flat=True),
            hypergrad=self.hypergrad,
            settings=self.upper,
            training=self.training,
        )
        return problem.run("target", monitor)[0]
