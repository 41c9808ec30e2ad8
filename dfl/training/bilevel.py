"""`Bridge`: the gate between teacher and target, learned by a hypergradient."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from dfl.errors import InvalidValueError
from dfl.hypergrad import AbstractHypergradient, ComposedLoss, LookAhead
from dfl.models import MLP, GateNetwork, Logs, Parameters, StackedNetwork
from dfl.training.decision_level import DecisionLevel
from dfl.training.levels import LowerLevel
from dfl.training.loop import purpose_of
from dfl.training.networks import Cohort
from dfl.training.optimiser import StackedAdam
from dfl.training.rows import Batch, RowPool, generator_for
from dfl.training.settings import Training

__all__ = ["Bridge", "BridgeSettings"]


@final
@dataclass(frozen=True, kw_only=True)
class BridgeSettings:
    """How the gate is built and learned.

    Args:
        network: sizes of the gate network.
        bias: starting value of the gate, in log-odds.
        reach: how far each parameter of the gate can travel over all upper steps, > 0;
            Adam's step on the gate is ``reach`` divided by their number. Said so, one value
            serves few and many upper steps. Above about 2 gates saturate.
        every: an upper step before every so many lower steps, >= 1.
        steps: look-ahead steps on the lower loss before each upper step, >= 0.
        batch_size: randomised rows per upper step, >= 1.
        warm_epochs: epochs before the first upper step, >= 0.

    Raises:
        InvalidValueError: if a setting is out of range.
    """

    network: MLP = field(default_factory=lambda: MLP((32,)))
    bias: float = -2.0
    reach: float = 0.4
    every: int = 10
    steps: int = 5
    batch_size: int = 4096
    warm_epochs: int = 2

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.reach > 0:
            raise InvalidValueError(f"reach must be > 0, got {self.reach:g}.")
        for name, least in (("every", 1), ("steps", 0), ("batch_size", 1), ("warm_epochs", 0)):
            if getattr(self, name) < least:
                raise InvalidValueError(f"{name} must be >= {least}, got {getattr(self, name)}.")


@final
class Bridge:
    """Learns the gate: the upper level of a bilevel method, as a stage's companion.

    Before every ``every``-th step of the target it takes ``steps`` look-ahead steps on the
    lower loss, asks the hypergradient how the decision loss there depends on the gate, and
    moves the gate by Adam. The target itself is not touched. Look-ahead steps are as long
    as the lower loss's curvature allows, measured once per epoch.

    Args:
        cohort: the networks.
        lower: the lower level.
        upper: the decision loss.
        rows: randomised rows of the upper level, which no teacher has seen.
        hypergradient: differentiates through the lower level.
        settings: how the gate is built and learned.
        training: settings of the stage this is a companion of.
    """

    def __init__(
        self,
        cohort: Cohort,
        lower: LowerLevel,
        upper: DecisionLevel,
        rows: RowPool,
        hypergradient: AbstractHypergradient,
        settings: BridgeSettings,
        training: Training,
    ) -> None:
        self._cohort, self._lower, self._upper, self._rows = cohort, lower, upper, rows
        self._hypergradient, self._settings = hypergradient, settings
        self._network = cohort.network
        self._gates = StackedNetwork(
            lambda: GateNetwork(
                settings.network, cohort.features, cohort.treatments, bias=settings.bias
            )
        )
        self.optimiser = StackedAdam(
            cohort.initial(self._gates, purpose_of("bridge")),
            learning_rate=settings.reach / max(self._upper_steps(training), 1),
            weight_decay=torch.zeros_like(cohort.weight_decay),
        )
        self._epoch = 0
        self._batches: Iterator[Batch] = iter(())
        self._ahead = LookAhead(settings.steps)
        self._seen: list[Logs] = []

    @torch.no_grad()
    def gate(self, features: Tensor) -> Tensor:
        """Return the gate as it stands, without a gradient. Shape ``(K, B, 2, M)``."""
        return self._gates(self.optimiser.parameters, features)

    def start_epoch(self, epoch: int) -> None:
        """Shuffle the upper level's rows, and forget the last epoch's step size and logs."""
        self._epoch, self._seen = epoch, []
        self._ahead.measure_anew(generator_for(epoch, purpose_of("power")))  # the same for all
        self._batches = self._upper_batches()

    def before_step(self, step: int, parameters: Parameters, batch: Batch) -> None:
        """Move the gate, if it is this step's turn."""
        if self._epoch < self._settings.warm_epochs or step % self._settings.every:
            return
        upper = next(self._batches)

        def outcomes(inner: Parameters, outer: Parameters) -> Tensor:
            return self._network(inner, batch.features)

        def lower_loss(predicted: Tensor, outer: Parameters) -> Tensor:
            return self._lower.loss(predicted, batch, self._gates(outer, batch.features))

        def upper_loss(inner: Parameters, outer: Parameters) -> Tensor:
            return self._upper(self._network(inner, upper.features), upper)

        lower = ComposedLoss(outcomes, lower_loss)
        gate = self.optimiser.frozen()
        inner = {name: value.detach() for name, value in parameters.items()}
        if self._hypergradient.needs_optimum:
            inner = self._ahead(lower, inner, gate)
        found = self._hypergradient(lower, upper_loss, inner, gate)
        self.optimiser.step_along(found.outer_grad)
        self._seen.append(
            {
                "decision_loss": float(found.outer_value.mean()),
                "residual": float(found.diagnostics.residual.mean()),
                "curvature": float(found.diagnostics.curvature.min()),
            }
        )

    def logs(self) -> Logs:
        """Return the epoch's averages, and mean and spread of the gate on upper rows."""
        if not self._seen:
            return {}
        logs = {key: sum(one[key] for one in self._seen) / len(self._seen) for key in self._seen[0]}
        gate = self.gate(next(self._upper_batches()).features)
        return logs | {"gate_mean": float(gate.mean()), "gate_spread": float(gate.std())}

    def _upper_steps(self, training: Training) -> int:
        """Return how many upper steps the whole stage takes."""
        lower_steps = self._lower.pool.steps(
            self._cohort.plan.dataset,
            batch_size=training.batch_size,
            min_steps=training.min_steps_per_epoch,
        )
        epochs = max(training.epochs - self._settings.warm_epochs, 0)
        return epochs * -(-lower_steps // self._settings.every)

    def _upper_batches(self) -> Iterator[Batch]:
        """Yield batches of upper rows without end."""
        generators = self._cohort.generators(purpose_of("upper"), self._epoch)
        while True:
            yield from self._rows.epoch(
                self._cohort.plan.dataset, generators, batch_size=self._settings.batch_size
            )
