"""`FittedModel`: an ensemble that predicts revenue and cost, and allocates a budget."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.errors import DataError, DataNotFoundError, InvalidValueError, ShapeError
from dfl.io import read_tensors, write_tensors
from dfl.models.mlp import MLP, OutcomeNetwork
from dfl.models.stacked import Parameters, StackedNetwork
from dfl.models.standardisation import Scaling
from dfl.problem import Allocation, AllocationProblem
from dfl.solvers.base import AbstractSolver
from dfl.solvers.greedy_dual import GreedyDual

__all__ = ["FittedModel", "Logs", "Prediction"]

Logs: TypeAlias = dict[str, float]
"""Averages of one epoch, by what they measure."""

_CHUNK = 65_536  # rows predicted at once, so that memory does not grow with the file


@final
@dataclass(frozen=True, eq=False)
class Prediction:
    """Predicted revenue and cost per person and treatment.

    Args:
        revenue: mean over the members, in currency. Shape ``(N, M)``.
        cost: likewise, >= 0. Shape ``(N, M)``.
        revenue_spread: standard deviation over the members, in currency, where asked for.
        cost_spread: likewise.
    """

    revenue: Tensor
    cost: Tensor
    revenue_spread: Tensor | None = None
    cost_spread: Tensor | None = None


@final
@dataclass(frozen=True, eq=False)
class FittedModel:
    """An ensemble of outcome networks with the scaling it was trained in.

    Args:
        network: sizes of each member.
        parameters: stacked parameters. Shapes ``(members, ...)``.
        scaling: units of features and outcomes.
        history: what was logged per stage and epoch.
    """

    network: MLP
    parameters: Parameters
    scaling: Scaling
    history: Mapping[str, list[Logs]]

    @property
    def features(self) -> int:
        """Number of features F."""
        return self.scaling.feature_mean.shape[0]

    @property
    def treatments(self) -> int:
        """Number of treatments M."""
        return self.scaling.fixed_cost.shape[0]

    @property
    def members(self) -> int:
        """Networks in the ensemble."""
        return next(iter(self.parameters.values())).shape[0]

    def only(self, member: int) -> "FittedModel":
        """Return the model of one member alone."""
        alone = {name: stacked[member : member + 1] for name, stacked in self.parameters.items()}
        return FittedModel(self.network, alone, self.scaling, self.history)

    @torch.no_grad()
    def predict(self, features: Tensor, *, spread: bool = False) -> Prediction:
        """Predict revenue and cost under every treatment.

        Args:
            features: as in training, not standardised. Shape ``(N, F)``.
            spread: also return the members' standard deviation, a measure of how far the
                training, not the world, leaves the answer open.

        Raises:
            ShapeError: if ``features`` is not ``(N, F)``.
            InvalidValueError: if a feature is not finite.
        """
        if features.ndim != 2 or features.shape[1] != self.features:
            raise ShapeError(f"features must be (N, {self.features}), got {tuple(features.shape)}.")
        if not bool(features.isfinite().all()):
            raise InvalidValueError("features must be finite, got NaN or infinity.")
        moments = [self._moments(chunk, spread) for chunk in torch.split(features, _CHUNK)]
        columns = [torch.cat(parts) for parts in zip(*moments, strict=True)]
        return Prediction(*columns)

    def allocate(
        self, features: Tensor, budget: Budget, *, solver: AbstractSolver | None = None
    ) -> Allocation:
        """Spend a budget on these people by predicted revenue and cost.

        Args:
            features: as in training. Shape ``(N, F)``.
            budget: money; a share is taken of predicted costs.
            solver: default `GreedyDual`.

        Raises:
            ShapeError: if ``features`` is not ``(N, F)``.
            InvalidValueError: if a feature is not finite.
            InfeasibleBudgetError: if the budget is below the cheapest choice for everyone.
        """
        predicted = self.predict(features)
        total = budget.total_of(predicted.cost)
        problem = AllocationProblem(predicted.revenue, predicted.cost, total)
        return (GreedyDual() if solver is None else solver).solve(problem)

    def save(self, path: Path) -> None:
        """Write the model as one safetensors file, whole or not at all.

        Raises:
            WriteError: if it could not be written.
        """
        tensors = {f"parameters/{name}": value for name, value in self.parameters.items()}
        for f in fields(Scaling):
            tensors[f"scaling/{f.name}"] = getattr(self.scaling, f.name)
        about = {"hidden": self.network.hidden, "history": self.history}
        write_tensors(path, tensors, {"dfl": json.dumps(about)})

    @staticmethod
    def load(path: Path) -> "FittedModel":
        """Read a model that `save` wrote.

        Raises:
            DataNotFoundError: if there is no such file.
            DataError: if the file is unreadable, truncated, or no model.
        """
        if not path.exists():
            raise DataNotFoundError(f"no model at {path}; train one with 'dfl run'.")
        try:
            return _assemble(*read_tensors(path))
        except (DataError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} is not a readable dfl model ({error}).") from error

    def _moments(self, features: Tensor, spread: bool) -> list[Tensor]:
        """Return means over members of revenue and cost, then the spreads if asked for."""
        rows = self.scaling.standardise(features.to(self.scaling.feature_mean))
        stacked = StackedNetwork(self._build)(self.parameters, rows)
        revenue, cost = self.scaling.currency(stacked)
        moments = [revenue.mean(dim=0), cost.mean(dim=0)]
        if spread:
            moments += [revenue.std(dim=0, correction=0), cost.std(dim=0, correction=0)]
        return moments

    def _build(self) -> OutcomeNetwork:
        return OutcomeNetwork(self.network, self.features, self.treatments)


def _assemble(tensors: dict[str, Tensor], metadata: Any) -> FittedModel:
    parameters = {
        name.removeprefix("parameters/"): value
        for name, value in tensors.items()
        if name.startswith("parameters/")
    }
    scaling = Scaling(**{f.name: tensors[f"scaling/{f.name}"] for f in fields(Scaling)})
    about = json.loads(metadata["dfl"])
    hidden = tuple(int(size) for size in about["hidden"])
    return FittedModel(MLP(hidden), parameters, scaling, about["history"])
