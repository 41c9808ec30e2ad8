"""`BiDfcl`: bi-level decision-focused causal learning."""

from dataclasses import dataclass, field, replace
from typing import Literal, final, get_args

from dfl.budget import Budget
from dfl.checks import check_choice, check_count, check_number, check_part, check_several
from dfl.hypergrad import AbstractHypergradient
from dfl.losses.base import AbstractDecisionLoss
from dfl.losses.prediction import PseudoLabelGradient
from dfl.losses.primal_policy import PrimalPolicy
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
from dfl.training.decision_level import BUDGETS, DecisionLevel, PriceFrom
from dfl.training.fit import fit_factual
from dfl.training.levels import LowerLevel, distillation, weighted_rows
from dfl.training.monitor import Monitor
from dfl.training.networks import Networks
from dfl.training.nuisance import with_teacher_baseline
from dfl.training.settings import hold_out

__all__ = ["BiDfcl"]


def _seldom() -> BilevelSettings:
    return BilevelSettings(every=40, steps=1)


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class BiDfcl(AbstractNetworkMethod):
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
        budgets: the budgets to decide well at; the decision loss is their mean.
        price: of money in the decision loss: found once per epoch on all of its ``"rows"``, or on
            each ``"batch"`` as published, which follows noise.
        upper: how the gate is built and learned: one look-ahead step at every 40th step, which
            decides as well as five at every tenth in our studies, in two thirds of the time.
        start: log-odds of the gate at the start: -2 is near the target; near 0 or above it tends
            to saturate at the teacher.
        rows: rows of the lower level; ``"obs"`` as published, ``"both"`` adds the randomised
            rows that the teacher saw, which helped in our studies.
        labels: ``"teacher"``, or ``"none"``: an ablation of the paper, in which nothing is said
            where nothing was observed, and the gate weighs the logged rows instead.
        pseudo_label_gradient: see `dfl.losses.pseudo_label_loss`.
        held_out: share of the randomised rows kept from the teacher for the upper level, in
            (0, 1). Shared rows push the gate to the teacher.
        refit: train teacher and target anew on all rows under the finished gate, so that
            holding rows out costs nothing in the end.
        network: architecture of teacher and target.
        training: settings of training.

    Raises:
        InvalidValueError: if an option is out of range, or there is no budget.

    Source:
        arXiv:2510.19517, algorithm 1. Deviations: held-out upper rows, refit, Gauss-Newton
        products, look-ahead steps bounded by the curvature, ``rows="both"``, an ensemble as
        teacher, no upper step in the first epochs (``upper.warm_epochs``); kept is the epoch of
        least factual error on validation rows, where the paper keeps that of the best AUCC or
        EOM. Whether the teacher sees the upper rows the paper does not say. Its ablation, row by
        row: ``tsm-sl-rct``, ``dfcl-ppl``, ``bi-dfcl-weighted`` (no labels; differentiates the
        steps themselves, `Unrolled`), ``bi-dfcl-explicit`` (the same with labels),
        ``bi-dfcl-ppl``.
        ``bi-dfcl-published`` is the paper's form: one budget met on each batch, plain inverse
        propensities, revenue alone, logs alone, 50 Hessian products, a gate that starts even, no
        refit. Ours stay, where the paper is silent: held-out upper rows, the ensemble as
        teacher, the relative temperature and the settings of training; and the epoch that is kept.
    """

    loss: AbstractDecisionLoss = field(default_factory=PrimalPolicy)
    hypergrad: AbstractHypergradient = field(
        default_factory=default_hypergradient, metadata=ANY_HYPERGRADIENT
    )
    budgets: tuple[Budget, ...] = BUDGETS
    price: PriceFrom = "rows"
    upper: BilevelSettings = field(default_factory=_seldom)
    start: float = -2.0
    rows: Literal["obs", "both"] = "both"
    labels: Literal["teacher", "none"] = "teacher"
    pseudo_label_gradient: PseudoLabelGradient = "stopped"
    held_out: float = 0.5
    refit: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        check_part("loss", self.loss, AbstractDecisionLoss, "PrimalPolicy() or LOSSES.make(name)")
        check_upper(self.hypergrad, self.upper)
        check_several("budgets", self.budgets, Budget)
        check_count("number of budgets", len(self.budgets), at_least=1)
        check_number("held_out", self.held_out, above=0, below=1)
        check_number("start", self.start)
        check_choice("price", self.price, ("rows", "batch"))
        check_choice("rows", self.rows, ("obs", "both"))
        check_choice("labels", self.labels, ("teacher", "none"))
        check_choice(
            "pseudo_label_gradient", self.pseudo_label_gradient, get_args(PseudoLabelGradient)
        )

    def train(self, networks: Networks, monitor: Monitor) -> Parameters:
        """Learn the gate, then fit the target under it."""
        halves = [hold_out(one, self.held_out) for one in networks.sets]
        seen = replace(networks, sets=[kept for kept, _ in halves])
        held = replace(networks, sets=[held for _, held in halves])
        pool = held.pool(lambda one: one.rows("rct"))
        teachers: Parameters = {}
        if self.labels == "teacher" or self.loss.needs_baseline:
            teachers = fit_factual("teacher", seen, "rct", self.training, monitor)
        if self.loss.needs_baseline:
            pool = with_teacher_baseline(pool, seen, teachers)
        problem = Bilevel(
            lower=self._lower(seen, teachers),
            upper=DecisionLevel(held, self.loss, self.budgets, pool, self.price),
            rows=pool,
            outer=Outer(channels=2, bias=self.start),
            hypergrad=self.hypergrad,
            settings=self.upper,
            training=self.training,
        )
        target, gate = problem.run("target", monitor)
        if not self.refit:
            return target
        if self.labels == "teacher":
            teachers = fit_factual("refit-teacher", networks, "rct", self.training, monitor)
        lower = self._lower(networks, teachers)
        return lower.train("refit-target", gate, self.training, monitor)

    def _lower(self, networks: Networks, teachers: Parameters) -> LowerLevel:
        if self.labels == "none":
            return weighted_rows(networks, self.rows)
        return distillation(networks, self.rows, teachers, self.pseudo_label_gradient)
