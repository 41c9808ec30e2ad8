"""`NetworkEnsemble`: outcome networks that predict their mean."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Self, final

from torch import Tensor

from dfl.models.architectures import ARCHITECTURES, AbstractArchitecture, AbstractOutcomeNetwork
from dfl.models.base import AbstractModel, Logs, Prediction, State
from dfl.models.stacked import Parameters, StackedNetwork
from dfl.models.standardisation import Scaling

__all__ = ["NetworkEnsemble"]


@final
@dataclass(frozen=True, eq=False)
class NetworkEnsemble(AbstractModel):
    """An ensemble of outcome networks with the scaling it was trained in.

    Args:
        network: architecture of each member.
        parameters: stacked parameters. Shapes ``(members, ...)``.
        scaling: units of features and outcomes.
        history: what was logged per stage and epoch.
    """

    network: AbstractArchitecture
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

    def only(self, *members: int) -> "NetworkEnsemble":
        """Return the ensemble of some members alone."""
        chosen = {name: stacked[list(members)] for name, stacked in self.parameters.items()}
        return NetworkEnsemble(self.network, chosen, self.scaling, self.history)

    def predict_rows(self, features: Tensor, *, spread: bool) -> Prediction:
        """Return means over members of revenue and cost, and the spreads if asked for."""
        rows = self.scaling.standardise(features.to(self.scaling.feature_mean))
        revenue, cost = self.scaling.currency(StackedNetwork(self._build)(self.parameters, rows))
        if not spread:
            return Prediction(revenue.mean(dim=0), cost.mean(dim=0))
        return Prediction(
            revenue.mean(dim=0),
            cost.mean(dim=0),
            revenue.std(dim=0, correction=0),
            cost.std(dim=0, correction=0),
        )

    def state(self) -> State:
        """Return parameters, scaling, architecture and history."""
        tensors = {f"parameters/{name}": value for name, value in self.parameters.items()}
        for f in fields(Scaling):
            tensors[f"scaling/{f.name}"] = getattr(self.scaling, f.name)
        name = ARCHITECTURES.name_of(type(self.network))
        sizes = asdict(self.network)  # type: ignore[call-overload]  # members are dataclasses
        about = {"network": name, "sizes": sizes, "history": dict(self.history)}
        return State("ensemble", tensors, about)

    @classmethod
    def of_state(cls, state: State) -> Self:
        """Return the ensemble that `state` described; names and shapes are checked."""
        sizes = {k: tuple(v) if isinstance(v, list) else v for k, v in state.about["sizes"].items()}
        network = ARCHITECTURES.make(state.about["network"], **sizes)
        parameters = {
            name.removeprefix("parameters/"): value
            for name, value in state.tensors.items()
            if name.startswith("parameters/")
        }
        scaling = Scaling(**{f.name: state.tensors[f"scaling/{f.name}"] for f in fields(Scaling)})
        model = cls(network, parameters, scaling, state.about["history"])
        StackedNetwork(model._build).check(parameters)
        return model

    def _build(self) -> AbstractOutcomeNetwork:
        return self.network.build(self.scaling.width, self.treatments)
