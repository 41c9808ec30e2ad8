"""Interface of the methods: from training sets to fitted models."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, TypeAlias

from dfl.data.uplift_data import UpliftData
from dfl.errors import DataError
from dfl.models import MLP, Parameters, Scaling
from dfl.models.ensemble import FittedModel
from dfl.training.monitor import Monitor
from dfl.training.networks import Cohort, Plan
from dfl.training.settings import Training, TrainingSet

__all__ = ["AbstractMethod", "Part"]

Part: TypeAlias = Literal["rct", "obs"]


class AbstractMethod(ABC):
    """Learns revenue and cost per person and treatment from logs.

    Members are frozen dataclasses with at least the two fields below. They describe how
    their networks train; the ensemble, the choice of weight decay and the training of many
    seeds at once are the same for all of them and stand here.
    """

    network: MLP
    training: Training

    @property
    @abstractmethod
    def uses(self) -> tuple[Part, ...]:
        """The parts of a training set that this method needs."""

    @abstractmethod
    def train(self, cohort: Cohort, monitor: Monitor) -> Parameters:
        """Train the cohort's networks together and return their parameters ``(K, ...)``.

        A network may depend on its own set and on that set's other networks only.
        """

    def fit(
        self,
        *,
        rct: UpliftData | None = None,
        obs: UpliftData | None = None,
        validation: UpliftData | None = None,
        seed: int = 0,
        monitor: Monitor | None = None,
    ) -> FittedModel:
        """Fit one ensemble.

        Args:
            rct: randomised training rows, where the method uses them.
            obs: observational training rows, where the method uses them.
            validation: randomised rows on which epochs and weight decay are chosen; without
                them the last epoch is kept, and one weight decay must be given.
            seed: starting point of all randomness.
            monitor: watches training; may hold checkpoints to go on from.

        Raises:
            DataError: if a part is missing, or several weight decays come without
                validation rows.
            ShapeError: if the parts differ in number of features or treatments.
            InvalidValueError: if outcomes do not vary.
            NotConvergedError: if training diverges.
        """
        one = TrainingSet(rct=rct, obs=obs, validation=validation, seed=seed)
        return self.fit_many([one], monitor=monitor)[0]

    def fit_many(
        self, sets: Sequence[TrainingSet], *, monitor: Monitor | None = None
    ) -> list[FittedModel]:
        """Fit one ensemble per training set, all networks of all sets at once.

        Args:
            sets: training sets of equal numbers of features and treatments.
            monitor: as in `fit`.

        Raises:
            DataError: as in `fit`.
            ShapeError: as in `fit`.
            InvalidValueError: as in `fit`.
            NotConvergedError: as in `fit`.
        """
        monitor = Monitor() if monitor is None else monitor
        sets = [self._needed(one) for one in sets]
        scalings = [Scaling.fit(*one.rows("both")) for one in sets]
        decays = self._choose_decays(sets, scalings, monitor)
        plan = Plan.of(sets, self.training.members, [[decay] for decay in decays])
        cohort = Cohort(sets, scalings, plan, self.network, "")
        parameters = self.train(cohort, monitor)
        history = {**monitor.history, "weight_decay": [{"value": decay} for decay in decays]}
        return [
            FittedModel(self.network, _rows_of(parameters, plan, index), scaling, history)
            for index, scaling in enumerate(scalings)
        ]

    def _needed(self, one: TrainingSet) -> TrainingSet:
        """Keep the parts that the method uses, and say which is missing."""
        for part in self.uses:
            if getattr(one, part) is None:
                raise DataError(
                    f"{type(self).__name__} trains on {' and '.join(self.uses)} rows, "
                    f"got no {part} rows."
                )
        if len(self.training.weight_decay) > 1 and one.validation is None:
            raise DataError(
                "choosing among several weight_decay values needs validation rows, got none; "
                "pass validation=..., or a single weight_decay."
            )
        kept = {part: getattr(one, part) for part in self.uses}
        return TrainingSet(**kept, validation=one.validation, seed=one.seed)

    def _choose_decays(
        self, sets: Sequence[TrainingSet], scalings: Sequence[Scaling], monitor: Monitor
    ) -> list[float]:
        """Return each set's weight decay: of the candidates, the one that predicts best."""
        candidates = self.training.weight_decay
        if len(candidates) == 1:
            return [candidates[0]] * len(sets)
        plan = Plan.of(sets, 1, [candidates] * len(sets))
        cohort = Cohort(sets, scalings, plan, self.network, "tuning-")
        error = cohort.validation_error(self.train(cohort, monitor))
        assert error is not None  # _needed has asked for validation rows
        best = error.reshape(len(sets), len(candidates)).argmin(dim=1)
        return [candidates[index] for index in best.tolist()]


def _rows_of(parameters: Parameters, plan: Plan, dataset: int) -> Parameters:
    chosen = [k for k, index in enumerate(plan.dataset) if index == dataset]
    return {name: value[chosen] for name, value in parameters.items()}
