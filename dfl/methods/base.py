"""Interfaces of the methods: from training sets to fitted models."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from dfl.checks import check_part
from dfl.data.uplift_data import UpliftData, check_alike
from dfl.errors import DataError, InvalidValueError, UnsupportedProblemError
from dfl.models import (
    MLP,
    AbstractArchitecture,
    AbstractModel,
    NetworkEnsemble,
    Parameters,
    Scaling,
)
from dfl.scale import rows_apart
from dfl.training.agreement import agreed
from dfl.training.monitor import Monitor
from dfl.training.networks import NetworkPlan, Networks
from dfl.training.settings import Part, Training, TrainingSet

__all__ = ["AbstractMethod", "AbstractNetworkMethod", "differentiable"]


_REMEDY = {
    "rct": "Give an experiment, or choose a method that trains on obs rows alone: tsm-sl-obs.",
    "obs": "Give some (data: obs), have the experiment cut up to make some (recipe: make_obs), or "
    "choose a method that trains on rct rows alone: tsm-sl-rct.",
}


@contextmanager
def differentiable() -> Iterator[None]:
    """Let gradients be taken while the block runs, whatever the caller has switched off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


class AbstractMethod(ABC):
    """Learns revenue and cost per person and treatment from logs; a frozen dataclass."""

    @property
    @abstractmethod
    def uses(self) -> tuple[Part, ...]:
        """The parts of a training set that this method needs."""

    @property
    def learns_apart(self) -> bool:
        """Whether each of several processes may have rows of its own; not, unless said so."""
        return False

    @abstractmethod
    def fit_many(
        self, sets: Sequence[TrainingSet], *, monitor: Monitor | None = None
    ) -> list[AbstractModel]:
        """Fit one model per training set; what can be shared between sets is done once.

        Args:
            sets: training sets of equal numbers of features and treatments.
            monitor: watches training; may hold checkpoints to go on from.

        Raises:
            DataError: if a part that the method uses is missing, or the monitor's folder holds
                checkpoints of another training.
            ShapeError: if parts or sets differ in number of features or treatments.
            DTypeError: if sets differ in dtype.
            InvalidValueError: if outcomes do not vary, or there is no set.
            NotConvergedError: if training diverges, or the error on validation rows overflows.
            UnsupportedProblemError: if each of several processes has rows of its own, and the
                method needs all of them.
        """

    def fit(
        self,
        *,
        rct: UpliftData | None = None,
        obs: UpliftData | None = None,
        validation: UpliftData | None = None,
        seed: int = 0,
        monitor: Monitor | None = None,
    ) -> AbstractModel:
        """Fit one model.

        Args:
            rct: randomised training rows, where the method uses them.
            obs: observational training rows, where the method uses them.
            validation: randomised rows on which what is left open is chosen.
            seed: starting point of all randomness.
            monitor: as in `fit_many`.

        Raises:
            DataError: as in `fit_many`.
            ShapeError: as in `fit_many`.
            InvalidValueError: as in `fit_many`.
            NotConvergedError: as in `fit_many`.
        """
        one = TrainingSet(rct=rct, obs=obs, validation=validation, seed=seed)
        return self.fit_many([one], monitor=monitor)[0]

    def check(self, one: TrainingSet) -> None:
        """Refuse rows that `fit_many` would refuse, before anything is trained.

        Raises:
            DataError: as `fit_many`.
            InvalidValueError: as `fit_many`.
        """
        self.needed(one)

    def needed(self, one: TrainingSet) -> TrainingSet:
        """Keep the parts of a set that the method uses, as numbers alone.

        Raises:
            DataError: if one is missing, or processes were given rows that do not fit.
            InvalidValueError: if a treatment has no rows in all of the processes together.
            UnsupportedProblemError: as `refuse_apart`.
        """
        self.refuse_apart()
        one = (agreed(one) if rows_apart() else one).plain()
        for part in self.uses:
            if getattr(one, part) is None:
                raise DataError(
                    f"{type(self).__name__} trains on {' and '.join(self.uses)} rows, "
                    f"got no {part} rows. {_REMEDY[part]}"
                )
        kept = {part: getattr(one, part) for part in self.uses}
        return TrainingSet(**kept, validation=one.validation, seed=one.seed)

    def all_needed(self, sets: Sequence[TrainingSet]) -> list[TrainingSet]:
        """Keep the parts of each set that the method uses.

        Raises:
            DataError: as `needed`.
            InvalidValueError: likewise, or if there is no set.
            ShapeError: if the sets differ in number of features or treatments.
            DTypeError: if they differ in dtype.
            UnsupportedProblemError: as `refuse_apart`.
        """
        if not sets:
            raise InvalidValueError("fit_many needs one training set or more, got none.")
        found = [self.needed(one) for one in sets]
        check_alike("sets that are learned together", [one.parts[0] for one in found])
        return found

    def refuse_apart(self) -> None:
        """Refuse to learn where each process has rows of its own, if the method needs all rows.

        Raises:
            UnsupportedProblemError: if it does.
        """
        if rows_apart() and not self.learns_apart:
            raise UnsupportedProblemError(
                f"{type(self).__name__} needs all rows in every process, and "
                "each was given rows of its own: join the processes by joined(same_rows=True) and "
                "give all of them all rows, or take a method that trains networks alone, such as "
                "tsm-sl, with training.validation 'choose'."
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractNetworkMethod(AbstractMethod):
    """A method that trains outcome networks.

    Members say how their networks train; the ensemble, the choice of weight decay and the
    training of many seeds at once are the same for all of them and stand here. Epochs and
    weight decay are chosen on validation rows; without them the last epoch is kept, and one
    weight decay must be given.

    Args:
        network: architecture of each network.
        training: settings of training.

    Raises:
        InvalidValueError: if a part is something else, as its name or its class.
    """

    network: AbstractArchitecture = field(default_factory=MLP)
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        """Check the parts."""
        example = "MLP() or ARCHITECTURES.make(name)"
        check_part("network", self.network, AbstractArchitecture, example)
        check_part("training", self.training, Training, "Training()")

    @property
    def uses(self) -> tuple[Part, ...]:
        """Both parts, unless a member says otherwise."""
        return ("rct", "obs")

    @property
    def learns_apart(self) -> bool:
        """Yes, unless validation rows are learned from, too."""
        return self.training.validation == "choose"

    @abstractmethod
    def train(self, networks: Networks, monitor: Monitor) -> Parameters:
        """Train networks together and return their parameters ``(K, ...)``.

        A network may depend on its own set and on that set's other networks only; of other sets
        on their numbers of rows, see `fit_many`.
        """

    @differentiable()
    def fit_many(
        self, sets: Sequence[TrainingSet], *, monitor: Monitor | None = None
    ) -> list[AbstractModel]:
        """Fit one ensemble per training set, all networks of all sets at once.

        They take batches as large as the smallest set allows, and as many steps as the largest
        needs (`RowPool.epoch`): where sets differ in their numbers of rows, a set's networks are
        those of another number of steps than it would take alone. `BiDfcl` holds out random
        halves, which differ a little.

        Args:
            sets: as in `AbstractMethod.fit_many`.
            monitor: as there.

        Raises:
            DataError: as there, or if validation rows are missing that several weight decays or
                the settings of training need.
            ShapeError: as there.
            InvalidValueError: as there.
            NotConvergedError: as there.
        """
        monitor = Monitor() if monitor is None else monitor
        sets = self.all_needed(sets)
        learned = [self.learned(one) for one in sets]
        return self.fit_decided(learned, self.choose_decays(sets, monitor), monitor)

    def check(self, one: TrainingSet) -> None:
        """Refuse missing parts, and outcomes that no network can be scaled to; see the interface.

        Raises:
            DataError: as `fit_many`.
            InvalidValueError: as `fit_many`.
        """
        kept = self.needed(one)
        self._check_validation([kept])
        Scaling.fit(*self.learned(kept).rows("both"))

    def fit_decided(
        self,
        sets: Sequence[TrainingSet],
        decays: Sequence[float],
        monitor: Monitor,
        *,
        name: str = "",
    ) -> list[AbstractModel]:
        """Fit one ensemble per training set under weight decays that are chosen already.

        Args:
            sets: with the parts that the method uses, see `needed`.
            decays: weight decay of each set.
            monitor: as in `fit_many`.
            name: put before the names of stages, to keep their checkpoints apart.

        Raises:
            ShapeError: as in `fit_many`.
            InvalidValueError: as there.
            NotConvergedError: as there.
        """
        scalings = [Scaling.fit(*one.rows("both"), ranks=self.training.ranks) for one in sets]
        plan = NetworkPlan.of(sets, self.training.members, [[decay] for decay in decays])
        networks = Networks(sets, scalings, plan, self.network, name, repr(self))
        parameters = self.train(networks, monitor)
        history = {**monitor.history, "weight_decay": [{"value": decay} for decay in decays]}
        return [
            NetworkEnsemble(
                self.network,
                {name: value[networks.learning(index)] for name, value in parameters.items()},
                scaling,
                history,
            )
            for index, scaling in enumerate(scalings)
        ]

    def choose_decays(self, sets: Sequence[TrainingSet], monitor: Monitor) -> list[float]:
        """Return each set's weight decay: of the candidates, the one that predicts best.

        Args:
            sets: with the parts that the method uses, see `needed`.
            monitor: as in `fit_many`.

        Raises:
            DataError: if there are several candidates and a set has no validation rows.
            ShapeError: as in `fit_many`.
            InvalidValueError: as there.
            NotConvergedError: as there.
        """
        candidates = self.training.weight_decay
        if len(candidates) == 1:
            return [candidates[0]] * len(sets)
        self._check_validation(sets)
        scalings = [Scaling.fit(*one.rows("both"), ranks=self.training.ranks) for one in sets]
        plan = NetworkPlan.of(sets, 1, [candidates] * len(sets))
        networks = Networks(sets, scalings, plan, self.network, "tuning-", repr(self))
        error = networks.validation_error(self.train(networks, monitor))
        assert error is not None  # every set has validation rows
        networks.check_score("tuning", error)
        error = torch.where(error.isfinite(), error, torch.inf)
        best = error.reshape(len(sets), len(candidates)).argmin(dim=1)
        return [candidates[index] for index in best.tolist()]

    def learned(self, one: TrainingSet) -> TrainingSet:
        """Return the set whose training parts the served networks learn from.

        Raises:
            DataError: if validation rows are to be learned from, and they or ``rct`` are missing.
        """
        return one.with_all_learned() if self.training.validation == "learn" else one

    def _check_validation(self, sets: Sequence[TrainingSet]) -> None:
        several = len(self.training.weight_decay) > 1
        if several and any(one.validation is None for one in sets):
            raise DataError(
                "choosing among several weight_decay values needs validation rows, got none; "
                "pass validation=..., or a single weight_decay."
            )
