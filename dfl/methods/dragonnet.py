"""`DragonNet`: outcomes and propensity from one representation, with targeted regularisation."""

from dataclasses import dataclass, field
from typing import final, get_args

from torch import Tensor
from torch.nn.functional import cross_entropy

from dfl.checks import check_choice, check_number
from dfl.losses.prediction import at_treatment, factual_loss
from dfl.methods.base import AbstractNetworkMethod
from dfl.models import AbstractArchitecture, ArmHeads, Parameters
from dfl.training.fit import fit_rows
from dfl.training.monitor import Monitor
from dfl.training.networks import Networks
from dfl.training.rows import Batch
from dfl.training.settings import Part, Rows, parts_of

__all__ = ["DragonNet"]

_LEAST = 0.02  # chance of a treatment


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class DragonNet(AbstractNetworkMethod):
    """Minimises ``factual + alpha cross-entropy(t) + beta mean (y - y_hat_t - epsilon_t / e_t)^2``.

    ``e_t``: predicted chance of the treatment received; ``epsilon``: one parameter per outcome
    and treatment, learned along. Predictions are ``y_hat``.

    Args:
        rows: which rows to train on; ``"obs"`` as published.
        alpha, beta: weights of the propensity and of the targeted regularisation, >= 0.
        network: architecture, with a propensity head.

    Raises:
        InvalidValueError: if a number is out of range.

    Source:
        Shi, Blei and Veitch (2019), arXiv:1906.02120, equations 2.2 and 3.2. Deviations: several
        treatments, two outcomes, each with an ``epsilon``; chances below .02 count as .02.
    """

    network: AbstractArchitecture = field(default_factory=lambda: ArmHeads(propensity=True))
    rows: Rows = "obs"
    alpha: float = 1.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        check_choice("rows", self.rows, get_args(Rows))
        check_number("alpha", self.alpha, at_least=0)
        check_number("beta", self.beta, at_least=0)

    @property
    def uses(self) -> tuple[Part, ...]:
        """The parts named by ``rows``."""
        return parts_of(self.rows)

    def train(self, networks: Networks, monitor: Monitor) -> Parameters:
        """Minimise the three terms together."""
        network = networks.needing("propensity", "network=ArmHeads(propensity=True)")

        def loss(parameters: Parameters, batch: Batch) -> Tensor:
            found = network.details(parameters, batch.features)
            outcomes, scores = found["outcomes"], found["propensity"]
            received = cross_entropy(scores.mT, batch.treatment, reduction="none").mean(dim=-1)
            chance = scores.softmax(dim=-1).gather(-1, batch.treatment[..., None])
            lift = at_treatment(found["epsilon"][:, None].expand_as(outcomes), batch.treatment)
            shifted = outcomes + (lift / chance.clamp(min=_LEAST))[..., None]
            t, y = batch.treatment, batch.outcome
            targeted = self.beta * factual_loss(shifted, t, y)
            return factual_loss(outcomes, t, y) + self.alpha * received + targeted

        return fit_rows("target", networks, self.rows, self.training, monitor, loss, by_rows=True)
