"""`KdFeature`: a student on logs whose representation is pulled to an RCT teacher's."""

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from dfl.checks import check_choice, check_number
from dfl.losses.prediction import factual_loss
from dfl.methods.base import AbstractNetworkMethod
from dfl.models import Parameters
from dfl.training.fit import fit_factual, fit_rows
from dfl.training.monitor import Monitor
from dfl.training.networks import Networks
from dfl.training.rows import Batch

__all__ = ["KdFeature"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class KdFeature(AbstractNetworkMethod):
    """Minimises ``factual + gamma mean_i mean_h (H_ih - H_teacher_ih)^2``.

    ``H`` is the hidden representation that the outcomes are read from; each student has a
    teacher of its own, trained on randomised rows.

    Args:
        gamma: weight of the distance, >= 0.
        rows: the student's rows; ``"obs"`` as published.
        network: architecture of teacher and student.
        training: settings of training, for teacher and student alike.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Liu et al. (2020), SIGIR, "A general knowledge distillation framework for
        counterfactual recommendation via uniform data", feature-based distillation. Deviation:
        the last hidden layer instead of the first, the one every architecture shows.
    """

    gamma: float = 1.0
    rows: Literal["obs", "both"] = "obs"

    def __post_init__(self) -> None:
        """Check the weight."""
        super().__post_init__()
        check_number("gamma", self.gamma, at_least=0)
        check_choice("rows", self.rows, ("obs", "both"))

    def train(self, networks: Networks, monitor: Monitor) -> Parameters:
        """Train the teachers, then the students."""
        teachers = fit_factual("teacher", networks, "rct", self.training, monitor)
        network = networks.stacked

        def loss(parameters: Parameters, batch: Batch) -> Tensor:
            found = network.details(parameters, batch.features)
            with torch.no_grad():
                taught = network.details(teachers, batch.features)["hidden"]
            distance = (found["hidden"] - taught).square().mean(dim=(-2, -1))
            factual = factual_loss(found["outcomes"], batch.treatment, batch.outcome)
            return factual + self.gamma * distance

        return fit_rows("target", networks, self.rows, self.training, monitor, loss, by_rows=True)
