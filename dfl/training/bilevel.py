"""`Bilevel`: a target trained on logs while an outer network learns beside it what to tell it."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.checks import check_count, check_number, check_part, check_several
from dfl.hypergrad import AbstractHypergradient, ComposedLoss, GaussNewton, LookAhead
from dfl.models import Logs, OuterNetwork, Parameters, StackedNetwork
from dfl.scale import rank_of
from dfl.seeds import stream
from dfl.training.levels import LowerLevel, Reading, UpperLevel
from dfl.training.monitor import Monitor
from dfl.training.optimiser import StackedAdam
from dfl.training.rows import Batch, RowPool
from dfl.training.settings import Training
from dfl.training.shares import loss_of_all, share_of

__all__ = [
    "ANY_HYPERGRADIENT",
    "Bilevel",
    "BilevelSettings",
    "NoUpperStepWarning",
    "Outer",
    "check_upper",
    "default_hypergradient",
]


def default_hypergradient() -> AbstractHypergradient:
    """Return what came out best per product in our studies: ten Gauss-Newton products."""
    return GaussNewton(max_iter=10, on_failure="return")


ANY_HYPERGRADIENT: Mapping[str, Mapping[str, object]] = {
    "named": {"curvature": "gauss-newton", "on_failure": "return"}
}
"""Where a configuration names another one: the lower level is never at a minimum here, so the exact
Hessian has negative curvature, and a tolerance that is missed must not end the training."""


@final
@dataclass(frozen=True, kw_only=True)
class BilevelSettings:
    """How an outer network is built and learned.

    Args:
        hidden: units of its hidden layers, all >= 1.
        reach: how far each of its parameters can travel over all upper steps, > 0; Adam's step
            is ``reach`` divided by their number. Said so, one value serves few and many upper
            steps. Above about 2 gates saturate.
        every: an upper step before every so many lower steps, >= 1.
        steps: look-ahead steps on the lower loss before each upper step, >= 0.
        batch_size: randomised rows per upper step, >= 1.
        warm_epochs: epochs before the first upper step, >= 0. As many as there are epochs, or
            more, leave the outer network as it starts; training then warns.

    Raises:
        InvalidValueError: if a setting is out of range.
    """

    hidden: tuple[int, ...] = (32,)
    reach: float = 0.4
    every: int = 10
    steps: int = 5
    batch_size: int = 4096
    warm_epochs: int = 2

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_several("hidden", self.hidden)
        for size in self.hidden:
            check_count("hidden sizes", size, at_least=1)
        check_number("reach", self.reach, above=0)
        for name, least in (("every", 1), ("steps", 0), ("batch_size", 1), ("warm_epochs", 0)):
            check_count(name, getattr(self, name), at_least=least)


def check_upper(hypergrad: object, upper: object) -> None:
    """Check the parts that a method's upper level is made of.

    Raises:
        InvalidValueError: if one is something else, as its name or its class.
    """
    example = "GaussNewton() or HYPERGRADIENTS.make(name)"
    check_part("hypergrad", hypergrad, AbstractHypergradient, example)
    check_part("upper", upper, BilevelSettings, "BilevelSettings()")


@final
class NoUpperStepWarning(UserWarning):
    """Training ends before its first upper step: the outer network stays as it starts."""


@final
@dataclass(frozen=True, kw_only=True)
class Outer:
    """What an outer network says, in the words of the lower level that reads it.

    Args:
        channels: outputs per treatment.
        reading: turns its outputs ``(K, B, C, M)`` into what the lower loss reads.
        bias: starting value of its last layer's bias, or None for torch's own.
        flat: whether it starts saying the same of everybody.
    """

    channels: int
    reading: Callable[[Tensor], Tensor] = torch.sigmoid
    bias: float | None = None
    flat: bool = False


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Bilevel:
    """``min_phi upper(theta*(phi))  s.t.  theta*(phi) = argmin_theta lower(theta, phi)``.

    Args:
        lower: trains the targets ``theta`` on logs, reading ``phi``.
        upper: loss of the targets on randomised rows.
        rows: those rows, of each set.
        outer: the outer network ``phi``.
        hypergrad: differentiates the upper level through the lower.
        settings: how ``phi`` is built and learned.
        training: settings of the targets' training.

    Source:
        arXiv:2510.19517, algorithm 1, for any outer network and both losses.
    """

    lower: LowerLevel
    upper: UpperLevel
    rows: RowPool
    outer: Outer
    hypergrad: AbstractHypergradient
    settings: BilevelSettings
    training: Training

    def run(self, name: str, monitor: Monitor) -> tuple[Parameters, Reading]:
        """Train targets and outer networks; return the targets, and what ``phi`` says then."""
        learner = OuterLearner(self)
        target = self.lower.train(name, learner.reading, self.training, monitor, learner)
        return target, learner.reading


@final
class OuterLearner:
    """Learns the outer networks, as the companion of the targets' stage.

    Before every ``every``-th step of the targets it takes ``steps`` look-ahead steps on the
    lower loss, asks the hypergradient how the upper loss there depends on the outer network,
    and moves that by Adam. The targets themselves are not touched. Look-ahead steps are as long
    as the lower loss's curvature allows, measured once per epoch.

    Args:
        problem: what is learned.
    """

    def __init__(self, problem: Bilevel) -> None:
        self._problem, self._networks = problem, problem.lower.networks
        settings, outer, networks = problem.settings, problem.outer, self._networks
        if settings.warm_epochs >= problem.training.epochs:
            warnings.warn(
                f"no upper step is taken: upper.warm_epochs is {settings.warm_epochs}, "
                f"training.epochs {problem.training.epochs}; take more epochs, or fewer warm ones.",
                NoUpperStepWarning,
                stacklevel=2,
            )
        self._outer = StackedNetwork(
            lambda: OuterNetwork(
                settings.hidden,
                networks.features,
                outer.channels,
                networks.treatments,
                bias=outer.bias,
                flat=outer.flat,
            )
        )
        self.optimiser = StackedAdam(
            networks.initial(self._outer, "outer"),
            learning_rate=settings.reach / max(self._upper_steps(), 1),
            weight_decay=torch.zeros_like(networks.weight_decay),
        )
        self._epoch = 0
        self._batches: Iterator[Batch] = iter(())
        self._ahead = LookAhead(settings.steps)
        self._seen: list[Tensor] = []  # upper loss, residual and curvature of each upper step

    @torch.no_grad()
    def reading(self, features: Tensor) -> Tensor:
        """Return what the outer networks say as they stand, without a gradient."""
        return self._problem.outer.reading(self._outer(self.optimiser.parameters, features))

    def start_epoch(self, epoch: int, parameters: Parameters) -> None:
        """Shuffle the upper level's rows, and forget the last epoch's step size and logs."""
        if epoch >= self._problem.settings.warm_epochs:
            self._problem.upper.start_epoch(parameters)
        self._epoch, self._seen = epoch, []
        self._ahead.measure_anew(stream(epoch, "power iteration"))  # the same for all
        self._batches = self._upper_batches()

    def before_step(self, step: int, parameters: Parameters, batch: Batch) -> None:
        """Move the outer networks, if it is this step's turn."""
        problem = self._problem
        if self._epoch < problem.settings.warm_epochs or step % problem.settings.every:
            return
        upper, network = next(self._batches), self._networks.stacked
        # Losses are this process's part of a sum over all of them.
        own, share = share_of(batch)
        world = rank_of()[1]

        def outcomes(inner: Parameters, outer: Parameters) -> Tensor:
            return network(inner, own.features)

        def lower_loss(predicted: Tensor, outer: Parameters) -> Tensor:
            reading = problem.outer.reading(self._outer(outer, own.features))
            return share * problem.lower.loss(predicted, own, reading)

        def upper_loss(inner: Parameters, outer: Parameters) -> Tensor:
            def loss(predicted: Tensor) -> Tensor:
                return problem.upper(predicted, upper)

            return loss_of_all(loss, lambda x: (network(inner, x),), upper) / world

        lower, outer = ComposedLoss(outcomes, lower_loss), self.optimiser.frozen()
        inner = {name: value.detach() for name, value in parameters.items()}
        found = self._ahead.hypergradient(problem.hypergrad, lower, upper_loss, inner, outer)
        self.optimiser.step_along(found.outer_grad)
        told = found.diagnostics
        seen = (found.outer_value.mean(), told.residual.mean(), told.curvature.min())
        self._seen.append(torch.stack([one.detach().double() for one in seen]))

    def logs(self) -> Logs:
        """Return the epoch's averages, and mean and spread of the reading on upper rows."""
        if not self._seen:
            return {}
        means = torch.stack(self._seen).mean(dim=0).tolist()
        logs = dict(zip(("upper_loss", "residual", "curvature"), means, strict=True))
        logs = {key: one for key, one in logs.items() if one == one}  # no solve, no residual
        reading = self.reading(next(self._upper_batches()).features)
        return (
            logs
            | self._problem.upper.logs()
            | {
                "reading_mean": float(reading.mean()),
                "reading_spread": float(reading.std()),
            }
        )

    def _upper_steps(self) -> int:
        """Return how many upper steps the whole stage takes."""
        training, settings = self._problem.training, self._problem.settings
        lower_steps = self._problem.lower.pool.steps(
            self._networks.plan.dataset,
            batch_size=training.batch_size,
            min_steps=training.min_steps_per_epoch,
        )
        epochs = max(training.epochs - settings.warm_epochs, 0)
        return epochs * -(-lower_steps // settings.every)

    def _upper_batches(self) -> Iterator[Batch]:
        """Yield batches of upper rows without end."""
        generators = self._networks.generators("upper rows", self._epoch)
        while True:
            yield from self._problem.rows.epoch(
                self._networks.plan.dataset,
                generators,
                batch_size=self._problem.settings.batch_size,
            )
