"""`Cfr`: the factual loss on logs, and representations that look alike in every arm."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from dfl.checks import check_choice, check_number
from dfl.losses.prediction import factual_loss
from dfl.methods.base import AbstractNetworkMethod
from dfl.models import AbstractArchitecture, ArmHeads, Parameters
from dfl.training.fit import fit_rows
from dfl.training.monitor import Monitor
from dfl.training.networks import Networks
from dfl.training.rows import Batch
from dfl.training.settings import Part
from dfl.training.shares import loss_of_all

__all__ = ["Cfr", "Distance", "mean_discrepancy", "sinkhorn"]

Distance: TypeAlias = Literal["mmd", "wasserstein"]

_COMPARED = 256  # rows of a batch that the Wasserstein distance compares, at most
_SOFTNESS = 0.1  # of its plan, times the mean distance
_SWEEPS = 10


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Cfr(AbstractNetworkMethod):
    """Minimises ``mean_i w_i (y_i - y_hat_{i,t_i})^2 + alpha mean_{j > 0} distance(H_j, H_0)``.

    ``H_j``: representations of the rows that received treatment j; ``w_i = N / (M N_{t_i})``.

    Args:
        distance: ``"mmd"``, the squared distance of means, or ``"wasserstein"``.
        alpha: weight of the distance, >= 0; with 0 the network is TARNet.
        network: architecture; the distance is that of its hidden representation.
        training: settings of training.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Shalit, Johansson and Sontag (2017), arXiv:1606.03976, equation 3, algorithm 2. Deviations:
        several treatments, each against 0; an arm without rows in a batch is left out; MMD with
        the linear kernel; Wasserstein on 256 rows of each batch.
    """

    network: AbstractArchitecture = field(default_factory=ArmHeads)
    distance: Distance = "mmd"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        check_choice("distance", self.distance, ("mmd", "wasserstein"))
        check_number("alpha", self.alpha, at_least=0)

    @property
    def uses(self) -> tuple[Part, ...]:
        """Observational rows alone."""
        return ("obs",)

    def train(self, networks: Networks, monitor: Monitor) -> Parameters:
        """Minimise both terms together."""
        network = networks.stacked
        weight = networks.arm_weight(networks.pool(lambda one: one.rows("obs")))
        distance = mean_discrepancy if self.distance == "mmd" else sinkhorn

        def loss(parameters: Parameters, batch: Batch) -> Tensor:
            def compute(features: Tensor) -> tuple[Tensor, Tensor]:
                found = network.details(parameters, features)
                return found["outcomes"], found["hidden"]

            def mixed(outcomes: Tensor, hidden: Tensor) -> Tensor:
                row = weight.gather(-1, batch.treatment)
                factual = factual_loss(outcomes, batch.treatment, batch.outcome, row)
                received = one_hot(batch.treatment, networks.treatments).to(row.dtype)
                return factual + self.alpha * distance(hidden, received)

            return loss_of_all(mixed, compute, batch)

        return fit_rows("target", networks, "obs", self.training, monitor, loss)


def mean_discrepancy(hidden: Tensor, received: Tensor) -> Tensor:
    """Return ``mean_{j > 0} |mean H_j - mean H_0|^2`` over the arms that have rows, ``(K,)``.

    Args:
        hidden: representations. Shape ``(K, B, H)``.
        received: 1 at the treatment received, else 0. Shape ``(K, B, M)``.
    """
    means = _shares(received).mT @ hidden  # (K, M, H)
    apart = (means[:, 1:] - means[:, :1]).square().sum(dim=-1)
    return _over_pairs(apart, received)


def sinkhorn(hidden: Tensor, received: Tensor) -> Tensor:
    """Return the mean Wasserstein-1 distance of the arms j > 0 from arm 0, ``(K,)``.

    ``sum_ik P_ik |H_i - H_k|``, the plan ``P`` from ten Sinkhorn sweeps at an entropy of .1 times
    the mean distance, held constant in the gradient.

    Args:
        hidden: representations; the first 256 rows are compared. Shape ``(K, B, H)``.
        received: as in `mean_discrepancy`.
    """
    if received.shape[-1] < 2:
        return 0 * hidden.sum(dim=(-2, -1))  # nothing to be apart
    hidden, received = hidden[:, :_COMPARED], received[:, :_COMPARED]
    length = torch.cdist(hidden, hidden)  # (K, B, B)
    share = _shares(received).double()
    base, others = share[..., :1], share[..., 1:]  # of all arms j at once, (K, B, M - 1)
    kernel, left = _kernel(length.detach(), base > 0), others
    for _ in range(_SWEEPS):
        right = _over(base, kernel.mT @ left)
        left = _over(others, kernel @ right)
    apart = (left * ((kernel * length) @ right)).sum(dim=-2)
    return _over_pairs(apart.to(hidden.dtype), received)


def _kernel(length: Tensor, base: Tensor) -> Tensor:
    """Return ``exp(-length / entropy)`` from the rows of other arms to those of arm 0, float64.

    Rows and columns are scaled so that the largest of each is 1, which the sweeps undo: nobody
    who is far from all others is lost to rounding.

    Args:
        length: distances. Shape ``(K, B, B)``.
        base: whether a row is of arm 0. Shape ``(K, B, 1)``.
    """
    entropy = (_SOFTNESS * length.mean(dim=(-2, -1), keepdim=True)).clamp(min=1e-12)
    scaled = (-length / entropy).double().masked_fill(base | ~base.mT, -torch.inf)
    for dim in (-1, -2):
        largest = scaled.amax(dim=dim, keepdim=True)
        scaled = scaled - largest.masked_fill(largest == -torch.inf, 0)
    return scaled.exp()


def _over(mass: Tensor, found: Tensor) -> Tensor:
    """Return ``mass / found``, 0 where nothing is found."""
    return torch.where(found > 0, mass / found, 0)


def _shares(received: Tensor) -> Tensor:
    """Return each row's share of its arm, 0 throughout where an arm has none."""
    return received / received.sum(dim=-2, keepdim=True).clamp(min=1)


def _over_pairs(apart: Tensor, received: Tensor) -> Tensor:
    """Average distances ``(K, M - 1)`` over the arms with rows; 0 where arm 0 has none."""
    there = (received.sum(dim=-2) > 0).to(apart.dtype)
    pairs = there[:, 1:] * there[:, :1]
    return (pairs * apart).sum(dim=-1) / pairs.sum(dim=-1).clamp(min=1)
