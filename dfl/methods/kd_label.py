"""`KdLabel`: a student on all logs, pulled to a teacher trained on randomised rows."""

from dataclasses import dataclass
from typing import Literal, final, get_args

from dfl.checks import check_choice, check_number
from dfl.losses.prediction import PseudoLabelGradient
from dfl.methods.base import AbstractNetworkMethod
from dfl.models import Parameters
from dfl.training.fit import fit_factual
from dfl.training.levels import distillation
from dfl.training.monitor import Monitor
from dfl.training.networks import Networks

__all__ = ["KdLabel"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class KdLabel(AbstractNetworkMethod):
    """Distillation with a fixed gate; what is left of Bi-DFCL when the gate is not learned.

    A teacher ensemble learns from the randomised rows. The student minimises
    ``mean_i [factual error_i + gate * sum_{j != t_i} (y_teacher_ij - y_hat_ij)^2]``.

    Args:
        gate: trust in the teacher, in [0, 1].
        rows: the student's rows; ``"obs"`` as published, ``"both"`` adds the randomised
            rows, which helped in our studies.
        pseudo_label_gradient: see `dfl.losses.pseudo_label_loss`.
        network: architecture of teacher and student.
        training: settings of training, for teacher and student alike.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Liu et al. (2020), SIGIR, "A general knowledge distillation framework for
        counterfactual recommendation via uniform data", label-based distillation.
        Deviations: labels are distilled for the treatments not received; the teacher is an
        ensemble.
    """

    gate: float = 0.3
    rows: Literal["obs", "both"] = "both"
    pseudo_label_gradient: PseudoLabelGradient = "stopped"

    def __post_init__(self) -> None:
        """Check the gate."""
        super().__post_init__()
        check_number("gate", self.gate, at_least=0, at_most=1)
        check_choice("rows", self.rows, ("obs", "both"))
        check_choice(
            "pseudo_label_gradient", self.pseudo_label_gradient, get_args(PseudoLabelGradient)
        )

    def train(self, networks: Networks, monitor: Monitor) -> Parameters:
        """Train the teachers, then the students."""
        teachers = fit_factual("teacher", networks, "rct", self.training, monitor)
        lower = distillation(networks, self.rows, teachers, self.pseudo_label_gradient)
        return lower.train("target", lambda _: self.gate, self.training, monitor)
