"""`BiDfcl`: bi-level decision-focused causal learning."""

from dataclasses import dataclass, field, replace
from typing import Literal, final

import torch

from dfl.budget import Budget
from dfl.errors import InvalidValueError
from dfl.hypergrad import AbstractHypergradient, GaussNewton
from dfl.losses.base import AbstractDecisionLoss
from dfl.losses.prediction import PseudoLabelGradient
from dfl.losses.primal_policy import PrimalPolicy
from dfl.methods.base import AbstractMethod, Part
from dfl.models import MLP, Parameters
from dfl.training.bilevel import Bridge, BridgeSettings
from dfl.training.decision_level import DecisionLevel
from dfl.training.factual import fit_factual
from dfl.training.levels import LowerLevel
from dfl.training.monitor import Monitor
from dfl.training.networks import Cohort
from dfl.training.nuisance import with_teacher_baseline
from dfl.training.rows import RowPool, generator_for
from dfl.training.settings import Training, TrainingSet

__all__ = ["BiDfcl"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class BiDfcl(AbstractMethod):
    """Learns, from decisions on randomised rows, how far a target should trust a teacher.

    ``min_phi decision loss(theta*(phi); RCT)  s.t.  theta*(phi) = argmin_theta L_PL(phi,
    theta; OBS)``: a teacher learns from randomised rows; a target learns from logs, with the
    teacher's answer mixed in by a gate ``phi`` wherever nothing was observed; the gate
    learns from the decisions that the target would make on randomised rows held out from
    the teacher. Only the target serves.

    Args:
        loss: decision loss of the upper level. A doubly robust one takes the teacher's
            predictions, which saw none of the upper rows.
        hypergrad: derivative of the upper level through the lower.
        budgets: the budgets to decide well at.
        bridge: how the gate is built and learned.
        rows: rows of the lower level; ``"obs"`` as published, ``"both"`` adds the randomised
            rows that the teacher saw, which helped in our studies.
        pseudo_label_gradient: see `dfl.losses.pseudo_label_loss`.
        held_out: share of the randomised rows kept from the teacher for the upper level, in
            (0, 1). Shared rows push the gate to the teacher.
        refit: train teacher and target anew on all rows under the finished gate, so that
            holding rows out costs nothing in the end.
        network: sizes of teacher and target.
        training: settings of training.

    Raises:
        InvalidValueError: if a number is out of range or there is no budget.

    Source:
        arXiv:2510.19517, algorithm 1. Deviations: held-out upper rows, refit, Gauss-Newton
        products, look-ahead steps bounded by the curvature, ``rows="both"``, an ensemble as
        teacher; with ``held_out`` rows shared the paper is silent.
    """

    loss: AbstractDecisionLoss = field(default_factory=PrimalPolicy)
    hypergrad: AbstractHypergradient = field(
        default_factory=lambda: GaussNewton(max_iter=10, on_failure="return")
    )
    budgets: tuple[Budget, ...] = (Budget(share=0.3),)
    bridge: BridgeSettings = field(default_factory=BridgeSettings)
    rows: Literal["obs", "both"] = "both"
    pseudo_label_gradient: PseudoLabelGradient = "stopped"
    held_out: float = 0.5
    refit: bool = True
    network: MLP = field(default_factory=MLP)
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.budgets:
            raise InvalidValueError("budgets must hold at least one budget, got none.")
        if not 0 < self.held_out < 1:
            raise InvalidValueError(f"held_out must be in (0, 1), got {self.held_out:g}.")

    @property
    def uses(self) -> tuple[Part, ...]:
        """Both parts."""
        return ("rct", "obs")

    def train(self, cohort: Cohort, monitor: Monitor) -> Parameters:
        """Learn the gate, then fit the target under it."""
        halves = [self._split(one) for one in cohort.sets]
        searching = replace(cohort, sets=[seen for seen, _ in halves])
        teachers = fit_factual("teacher", searching, "rct", self.training, monitor)
        lower = LowerLevel.of(searching, self.rows, teachers, self.pseudo_label_gradient)
        upper = replace(cohort, sets=[held for _, held in halves])
        pool = upper.pool(lambda one: one.rows("rct"))
        if self.loss.needs_baseline:
            pool = with_teacher_baseline(pool, searching, teachers)
        bridge = self._bridge(lower, upper, pool)
        target = lower.train("target", bridge.gate, self.training, monitor, bridge)
        if not self.refit:
            return target
        teachers = fit_factual("refit-teacher", cohort, "rct", self.training, monitor)
        lower = LowerLevel.of(cohort, self.rows, teachers, self.pseudo_label_gradient)
        return lower.train("refit-target", bridge.gate, self.training, monitor)

    def _bridge(self, lower: LowerLevel, upper: Cohort, pool: RowPool) -> Bridge:
        decision = DecisionLevel.of(upper, self.loss, self.budgets)
        return Bridge(upper, lower, decision, pool, self.hypergrad, self.bridge, self.training)

    def _split(self, one: TrainingSet) -> tuple[TrainingSet, TrainingSet]:
        """Split a set's randomised rows: those the teacher sees, those held out."""
        assert one.rct is not None  # uses names rct
        generator = generator_for(one.seed, 1)
        groups = one.rct.groups
        if groups is None:
            groups = torch.arange(len(one.rct))
        ids, group = torch.unique(groups.cpu(), return_inverse=True)
        held = torch.rand(ids.shape[0], generator=generator)[group] < self.held_out
        held = held.to(one.rct.features.device)
        return replace(one, rct=one.rct.subset(~held)), replace(one, rct=one.rct.subset(held))
