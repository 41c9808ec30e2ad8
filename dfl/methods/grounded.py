"""`Grounded`: any method's predictions, corrected by what the experiment says of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, final

import torch
from torch import Tensor

from dfl.checks import check_number, check_several
from dfl.data.uplift_data import UpliftData
from dfl.errors import DataError, InvalidValueError
from dfl.methods.base import AbstractMethod, AbstractNetworkMethod, differentiable
from dfl.methods.tsm_sl import TsmSl
from dfl.models import AbstractModel, Logs, Prediction
from dfl.models.grounded import GroundedModel
from dfl.models.grounding.correction import Correction, CorrectionForm
from dfl.models.grounding.costs import cost_corrections
from dfl.models.grounding.evidence import Evidence
from dfl.models.grounding.tails import largest_mean, without_tail
from dfl.models.grounding.units import units_of_logs
from dfl.training.folds import Folds
from dfl.training.monitor import Monitor
from dfl.training.settings import Part, TrainingSet

__all__ = ["Grounded"]

_OUTCOMES = ("revenue", "cost")
_HEAVY = 2.0  # times the variance must fall to make up for what winsorising distorts


def _forms() -> tuple[CorrectionForm, ...]:
    return (
        CorrectionForm(),
        CorrectionForm(add=1.0, bias="each"),
        CorrectionForm(add=0.02, level=False),
        CorrectionForm(multiplicative=False),
    )


_IN_SAMPLE = CorrectionForm(add=0.02, contrast=False, level=False)


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Grounded(AbstractMethod):
    """Corrects the revenue that a method predicts by the evidence of randomised rows.

    Member ``m`` of the base method's ensemble learns from all rows but those of fold ``m``. Each
    row is predicted by the member that left it out, rows that none learned from (validation
    rows, or parts that the base method does not use) by the mean. Sparse corrections of these
    predictions, see `dfl.models.grounding.correction.Correction`, are fitted to the outcomes of
    randomised and validation rows and of the logs, the logs with a bias of their own that is
    thrown away. Served is the mean of the members, its revenue corrected; its costs are, too,
    where the experiment refutes those of the logs (`cost_corrections`).

    Where winsorising at the 95 % quantile would halve the variance of revenue or of cost, both
    are winsorised first, see `without_tail`, for members and corrections alike: the shape of
    what they learn is then that of most purchases, the level that of all. Not so where the mean
    of some twentieth of people surely lies above the bound (`largest_mean`): there the size is
    not chance, but who one is.

    Where members that were trained so find the logs' revenue or cost under some treatment more than
    2.5 times as large as the experiment's for the same people, or as small (`units_of_logs`), it is
    divided by what was found, and the members are trained once more.

    Args:
        base: the method that is corrected; as many folds as it has members. Where its
            ``training.validation`` is ``"learn"``, validation rows lie in folds, too, and members
            learn from them.
        corrections: forms of the corrections, whose answers are averaged.
        in_sample: whether the base method is also trained as it is, on all of its rows, and one
            more correction is fitted to what it predicts of them, to join the average: terms as
            published (``add`` .02), contrasts not stretched. Twice the training.

    Raises:
        InvalidValueError: if the base method trains no networks or fewer than two members, or
            there is no correction.

    Source:
        Our own, see `Correction`; no paper's results are claimed for it. The idea of experimental
        grounding is that of Kallus, Puli and Shalit (2018), arXiv:1810.11646.
    """

    base: AbstractNetworkMethod = field(default_factory=TsmSl)
    corrections: tuple[CorrectionForm, ...] = field(default_factory=_forms)
    in_sample: bool = False

    def __post_init__(self) -> None:
        """Check base and corrections."""
        if not isinstance(self.base, AbstractNetworkMethod):
            raise InvalidValueError(
                "base must be a method that trains outcome networks, got "
                f"{type(self.base).__name__}."
            )
        check_number("members of the base method", self.base.training.members, at_least=2)
        check_several("corrections", self.corrections, CorrectionForm)
        check_number("number of corrections", len(self.corrections), at_least=1)

    @property
    def uses(self) -> tuple[Part, ...]:
        """The parts that the base method learns from; the others serve as evidence alone."""
        return self.base.uses

    def check(self, one: TrainingSet) -> None:
        """Refuse what the base method refuses, and a set without randomised rows.

        Raises:
            DataError: as `fit_many`.
            InvalidValueError: as `fit_many`.
        """
        self.base.check(one)
        if one.rct is None and one.validation is None:
            raise DataError(
                "Grounded corrects by randomised rows: give rct or validation rows, got neither."
            )

    @differentiable()
    def fit_many(
        self, sets: Sequence[TrainingSet], *, monitor: Monitor | None = None
    ) -> list[AbstractModel]:
        """Fit one model per training set, the members of all sets at once.

        Args:
            sets: as in `AbstractMethod.fit_many`.
            monitor: as there.

        Raises:
            DataError: as there, if a set has neither ``rct`` nor ``validation`` rows, if one of
                the two is missing where validation rows are to be learned from, or if several
                weight decays come without validation rows.
            ShapeError: as there.
            InvalidValueError: as there, or if no randomised row can be left out.
            NotConvergedError: as there.
        """
        monitor = Monitor() if monitor is None else monitor
        self.refuse_apart()
        for one in sets:
            self.check(one)
        sets = [one.plain() for one in sets]
        self.base.all_needed(sets)
        ready = [_without_tails(one) for one in sets]
        decays = self.base.choose_decays([self.base.needed(one) for one, _ in ready], monitor)
        held = self._held_out(ready, decays, monitor)
        units = [_units_of_logs(one) for one in held]
        apart = [index for index, unit in enumerate(units) if unit]
        if apart:
            ready = [_without_tails(_converted(sets[index], units[index])) for index in apart]
            again = self._held_out(
                ready, [decays[index] for index in apart], monitor, name="converted-"
            )
            for index, found in zip(apart, again, strict=True):
                history = {**found.history, "units_by_treatment": units[index]}
                held[index] = found._replace(history=history)
        models = [_corrected(found, self.corrections) for found in held]
        if not self.in_sample:
            return [*models]
        whole = self.base.fit_decided(
            [found.learned for found in held], decays, monitor, name="in-sample-"
        )
        others = [
            _corrected(
                _HeldOut.of(found.given, Folds(found.learned, {}), [ensemble], ensemble.history),
                [_IN_SAMPLE],
            )
            for found, ensemble in zip(held, whole, strict=True)
        ]
        return [
            replace(model, history={**other.history, **model.history}, in_sample=other)
            for model, other in zip(models, others, strict=True)
        ]

    def _held_out(
        self,
        sets: Sequence[tuple[TrainingSet, Mapping[str, list[Logs]]]],
        decays: Sequence[float],
        monitor: Monitor,
        *,
        name: str = "",
    ) -> list["_HeldOut"]:
        """Train the members of each set, each without its fold, and predict what they left out.

        Args:
            sets: each with what is to be said of it in the history.
            decays: weight decay of each set.
            monitor: as in `fit_many`.
            name: put before the names of stages.
        """
        count = self.base.training.members
        given = [self.base.learned(one) for one, _ in sets]
        learned = [self.base.learned(self.base.needed(one)) for one, _ in sets]
        folds = [Folds.of(one, count) for one in learned]
        single = replace(self.base, training=replace(self.base.training, members=1))
        members = single.fit_decided(
            [fold.without(number) for fold in folds for number in range(count)],
            [decay for decay in decays for _ in range(count)],
            monitor,
            name=name,
        )
        held = []
        for index, (one, fold) in enumerate(zip(given, folds, strict=True)):
            told = {"weight_decay": [{"value": decays[index]}], **sets[index][1]}
            own = members[index * count : (index + 1) * count]
            held.append(_HeldOut.of(one, fold, own, {**members[0].history, **told}))
        return held


class _HeldOut(NamedTuple):
    """Members of one set, and outcomes beside what those predict that did not see them.

    Args:
        given: the set, its tails shortened where they are heavy.
        learned: its rows that the members learn from.
        members: one per fold, or one that has seen all rows.
        history: of the model to be.
        revenue: evidence of all rows.
        cost: likewise.
    """

    given: TrainingSet
    learned: TrainingSet
    members: Sequence[AbstractModel]
    history: Mapping[str, list[Logs]]
    revenue: Evidence
    cost: Evidence

    @staticmethod
    def of(
        given: TrainingSet,
        folds: Folds,
        members: Sequence[AbstractModel],
        history: Mapping[str, list[Logs]],
    ) -> "_HeldOut":
        """Predict the rows of a set."""
        evidence = _evidence(_held_against(given, folds, members))
        return _HeldOut(given, folds.one, members, history, *evidence)


def _corrected(held: _HeldOut, forms: Sequence[CorrectionForm]) -> GroundedModel:
    """Correct one set's members."""
    trial = [part for part in (held.given.rct, held.given.validation) if part is not None]
    mean_cost = _mean_cost(trial)
    corrections = Correction.fit(held.revenue, mean_cost, forms)
    of_cost = cost_corrections(held.cost, mean_cost, forms)
    told = {"correction": corrections, "cost_correction": of_cost}
    logs = {name: [_logs(one) for one in found] for name, found in told.items() if found}
    return GroundedModel(tuple(held.members), corrections, of_cost, {**held.history, **logs})


def _units_of_logs(held: _HeldOut) -> list[Logs]:
    """Return by what each treatment's outcomes of the logs are divided; empty if by nothing."""
    units = torch.stack([units_of_logs(getattr(held, name)) for name in _OUTCOMES], dim=1)
    if bool((units == 1).all()):
        return []
    return [dict(zip(_OUTCOMES, of_arm, strict=True)) for of_arm in units.tolist()]


def _converted(one: TrainingSet, units: Sequence[Logs]) -> TrainingSet:
    """Return a set whose logs count as the experiment does."""
    assert one.obs is not None  # without logs no unit differs
    outcomes = {}
    for name in _OUTCOMES:
        outcome = getattr(one.obs, name)
        unit = outcome.new_tensor([of_arm[name] for of_arm in units])
        outcomes[name] = outcome / unit[one.obs.treatment]
    return replace(one, obs=replace(one.obs, **outcomes))


def _without_tails(one: TrainingSet) -> tuple[TrainingSet, dict[str, list[Logs]]]:
    """Return the set, winsorised if its tails are heavy, and the bounds for the history."""
    sizes = [len(part) for part in one.parts]
    treatment = torch.cat([part.treatment for part in one.parts])
    features = torch.cat([part.features for part in one.parts])
    cut: dict[str, Sequence[Tensor]] = {}
    bounds: dict[str, float] = {}
    most = 0.0
    for name in _OUTCOMES:
        outcome = torch.cat([getattr(part, name) for part in one.parts])
        shorter, bound, fall = without_tail(outcome, treatment, one.parts[0].treatments)
        if fall >= _HEAVY and largest_mean(features, outcome) >= bound:
            shorter, bound, fall = outcome, float(outcome.abs().max()), 1.0
        bounds[name] = bound
        cut[name] = torch.split(shorter, sizes)
        most = max(most, fall)
    if most < _HEAVY:
        return one, {}
    parts = (
        replace(part, revenue=revenue, cost=cost)
        for part, revenue, cost in zip(one.parts, cut["revenue"], cut["cost"], strict=True)
    )
    given = (None if part is None else next(parts) for part in (one.rct, one.obs, one.validation))
    rct, obs, validation = given
    return replace(one, rct=rct, obs=obs, validation=validation), {"tails": [bounds]}


class _Piece(NamedTuple):
    """Rows of a part, beside what models that did not learn from them predict."""

    part: UpliftData
    rows: Tensor | slice
    found: Prediction


def _held_against(one: TrainingSet, folds: Folds, members: Sequence[AbstractModel]) -> list[_Piece]:
    """Predict a set's rows, each by the members that did not learn from it.

    Rows of parts that have no folds are predicted by the mean of all members.
    """
    pieces = []
    named: tuple[tuple[Part | None, UpliftData | None], ...] = (
        ("rct", one.rct),
        ("obs", one.obs),
        (None, one.validation),
    )
    for name, part in named:
        if part is None:
            continue
        fold = None if name is None else folds.of_part.get(name)
        if fold is None:
            every = [member.predict(part.features) for member in members]
            mean = (torch.stack([getattr(p, k) for p in every]).mean(dim=0) for k in _OUTCOMES)
            pieces.append(_Piece(part, slice(None), Prediction(*mean)))
            continue
        for number, member in enumerate(members):
            left_out = fold == number
            pieces.append(_Piece(part, left_out, member.predict(part.features[left_out])))
    return pieces


def _evidence(pieces: Sequence[_Piece]) -> tuple[Evidence, Evidence]:
    """Return revenue and cost of all rows, each beside its prediction."""

    def column(name: str) -> Tensor:
        return torch.cat([getattr(one.part, name)[one.rows] for one in pieces])

    treatment, features = column("treatment"), column("features")
    sizes = torch.tensor([len(one.found.cost) for one in pieces])
    logged = torch.tensor([one.part.source == "obs" for one in pieces]).repeat_interleave(sizes)
    revenue, cost = (
        Evidence(
            predicted=torch.cat([getattr(one.found, name) for one in pieces]),
            outcome=column(name),
            treatment=treatment,
            features=features,
            logged=logged.to(treatment.device),
        )
        for name in _OUTCOMES
    )
    return revenue, cost


def _mean_cost(parts: Sequence[UpliftData]) -> Tensor:
    """Return the mean cost of each treatment, float64, over randomised rows. Shape ``(M,)``."""
    cost = torch.cat([part.cost for part in parts]).double()
    treatment = torch.cat([part.treatment for part in parts])
    total = cost.new_zeros(parts[0].treatments).index_add_(0, treatment, cost)
    return total / treatment.bincount(minlength=parts[0].treatments)


def _logs(correction: Correction) -> Logs:
    """Return what a fit has found, for the history."""
    found = {
        "effective_parameters": correction.effective,
        "noise_power": correction.noise_power,
        "log_evidence": correction.log_evidence,
    }
    if correction.disagreement is not None:
        found["disagreement"] = correction.disagreement
    return found
