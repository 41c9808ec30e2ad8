"""`AbstractModel`: what every method returns; predicts, allocates, is saved and read back."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self, TypeAlias, final

import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.checks import check_part, check_tensor
from dfl.errors import DataError, DataNotFoundError, InvalidValueError, ShapeError
from dfl.io import read_tensors, write_tensors
from dfl.problem import Allocation, AllocationProblem
from dfl.scale import Chunks
from dfl.solvers.base import AbstractSolver
from dfl.solvers.greedy_dual import GreedyDual

__all__ = ["AbstractModel", "Logs", "Prediction", "State", "read_state"]

Logs: TypeAlias = dict[str, float]
"""Averages of one epoch, by what they measure."""

PREDICTED = Chunks(1 << 13)  # rows at once, whose hidden layers stay in one core's cache
_FORMAT = 2  # of the file; raised when an older program could misread it


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
class State:
    """All that a model is, as a file holds it.

    Args:
        kind: name of the model's class in `dfl.models.MODELS`.
        tensors: by name.
        about: everything else, as plain data of JSON.
    """

    kind: str
    tensors: Mapping[str, Tensor]
    about: Mapping[str, Any]

    def nested(self, prefix: str) -> "State":
        """Return the state of a model inside this one, put there by `within`."""
        own = {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}
        inside = self.about[prefix]
        return State(inside["kind"], own, inside["about"])

    def within(self, prefix: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and plain data by which another model's state holds this one."""
        tensors = {f"{prefix}{name}": value for name, value in self.tensors.items()}
        return tensors, {prefix: {"kind": self.kind, "about": dict(self.about)}}


class AbstractModel(ABC):
    """Predicts revenue and cost of everyone under every treatment.

    Networks, forests, tables over segments, or a model wrapped around another. Members are
    frozen dataclasses with at least the field ``history``: what was logged per stage and epoch.
    """

    history: Mapping[str, list[Logs]]

    @property
    @abstractmethod
    def features(self) -> int:
        """Number of features F."""

    @property
    @abstractmethod
    def treatments(self) -> int:
        """Number of treatments M."""

    @abstractmethod
    def predict_rows(self, features: Tensor, *, spread: bool) -> Prediction:
        """Predict people who fit in memory; features are checked already.

        Args:
            features: shape ``(N, F)``, finite.
            spread: whether the members' standard deviation is asked for.
        """

    @abstractmethod
    def state(self) -> State:
        """Return all that the model is."""

    def account(
        self, feature_names: Sequence[str], treatment_names: Sequence[str]
    ) -> dict[str, object]:
        """Return what the model says of itself, as plain data for reports; nothing by default.

        ``words`` holds sentences; other entries are the member's own.

        Args:
            feature_names: one per feature, or empty.
            treatment_names: one per treatment, or empty.
        """
        return {}

    @classmethod
    @abstractmethod
    def of_state(cls, state: State) -> Self:
        """Return the model that `state` described.

        Raises:
            KeyError: if something is missing.
            TypeError: if something has the wrong type.
            ValueError: if something has the wrong value.
        """

    @torch.no_grad()
    def predict(self, features: Tensor, *, spread: bool = False) -> Prediction:
        """Predict revenue and cost under every treatment, whatever the number of people.

        Args:
            features: as in training, not standardised. Shape ``(N, F)``.
            spread: also return the members' standard deviation, a measure of how far the
                training, not the world, leaves the answer open.

        Raises:
            DTypeError: if ``features`` is no tensor.
            ShapeError: if ``features`` is not ``(N, F)``.
            InvalidValueError: if a feature is not finite.
        """
        check_tensor("features", features)
        if features.ndim != 2 or features.shape[1] != self.features:
            raise ShapeError(f"features must be (N, {self.features}), got {tuple(features.shape)}.")
        if not bool(features.isfinite().all()):
            raise InvalidValueError("features must be finite, got NaN or infinity.")
        chunks = list(PREDICTED.of(features.shape[0])) or [slice(0, 0)]
        parts = [self.predict_rows(features[rows], spread=spread) for rows in chunks]
        columns = {f.name: [getattr(part, f.name) for part in parts] for f in fields(Prediction)}
        return Prediction(**{k: torch.cat(v) for k, v in columns.items() if v[0] is not None})

    def allocate(
        self, features: Tensor, budget: Budget, *, solver: AbstractSolver | None = None
    ) -> Allocation:
        """Spend a budget on these people by predicted revenue and cost.

        Args:
            features: as in training. Shape ``(N, F)``.
            budget: money; a share is taken of predicted costs.
            solver: default `GreedyDual`.

        Raises:
            DTypeError: if ``features`` is no tensor.
            ShapeError: if ``features`` is not ``(N, F)``.
            InvalidValueError: if a feature is not finite, or a budget or solver is something else.
            InfeasibleBudgetError: if the budget is below the cheapest choice for everyone.
        """
        solver = GreedyDual() if solver is None else solver
        check_part("budget", budget, Budget, "Budget(per_head=0.3)")
        check_part("solver", solver, AbstractSolver, "GreedyDual() or SOLVERS.make(name)")
        predicted = self.predict(features)
        total = budget.total_of(predicted.cost)
        problem = AllocationProblem(predicted.revenue, predicted.cost, total)
        return solver.solve(problem)

    def save(self, path: Path | str) -> None:
        """Write the model as one safetensors file, whole or not at all.

        Raises:
            WriteError: if it could not be written.
        """
        state = self.state()
        about = {"format": _FORMAT, "kind": state.kind, "about": state.about}
        write_tensors(Path(path), state.tensors, {"dfl": json.dumps(about)})


def read_state(path: Path) -> State:
    """Read what `AbstractModel.save` wrote, and check that it is what was written.

    Raises:
        DataNotFoundError: if there is no such file.
        DataError: if the file is unreadable, truncated, altered, of another format or no model.
    """
    if not path.exists():
        raise DataNotFoundError(f"no model at {path}; train one with 'dfl run'.")
    try:
        tensors, metadata = read_tensors(path)
        written = json.loads(metadata["dfl"])
        found = written.get("format", 1)
        state = State(written.get("kind", ""), tensors, written.get("about", {}))
    except (DataError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path} is not a readable dfl model ({error}).") from error
    if found != _FORMAT:
        raise DataError(
            f"{path} holds a model of format {found}; this version of dfl reads format {_FORMAT}, "
            "which names the kind of model. Train anew, or read the file with the version that "
            "wrote it."
        )
    return state
