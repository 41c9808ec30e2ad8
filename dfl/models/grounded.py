"""`GroundedModel`: predictions of models, their revenue corrected by what an experiment says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, final

import torch
from torch import Tensor

from dfl.checks import check_number
from dfl.models.base import AbstractModel, Logs, Prediction, State
from dfl.models.grounding.basis import Basis
from dfl.models.grounding.correction import Correction
from dfl.models.grounding.words import effects, in_words, labels
from dfl.models.saved import model_of

__all__ = ["GroundedModel"]

_TOLD = 6  # features in an account


@final
@dataclass(frozen=True, eq=False)
class GroundedModel(AbstractModel):
    """The mean of several models, with its revenue corrected.

    ``revenue = mean_c correction_c(mean_m revenue_m, x)``, and cost likewise where it is corrected,
    at least 0; how far the models differ from each other is left as it is. With ``in_sample``,
    the mean over the corrections of both models, and over the networks of both for costs.

    Args:
        members: models of equal features and treatments, at least one.
        corrections: of their mean revenue, at least one; their answers are averaged.
        cost_corrections: of their mean cost; empty: it is served as it is.
        history: what was logged per stage and epoch.
        in_sample: another such model, of networks that learned from all rows, or None.

    Raises:
        InvalidValueError: if there is no member or no correction.
    """

    members: tuple[AbstractModel, ...]
    corrections: tuple[Correction, ...]
    cost_corrections: tuple[Correction, ...]
    history: Mapping[str, list[Logs]]
    in_sample: "GroundedModel | None" = None

    def __post_init__(self) -> None:
        """Check that there is something to average."""
        check_number("number of members", len(self.members), at_least=1)
        check_number("number of corrections", len(self.corrections), at_least=1)

    @property
    def features(self) -> int:
        """Number of features F."""
        return self.members[0].features

    @property
    def treatments(self) -> int:
        """Number of treatments M."""
        return self.members[0].treatments

    def predict_rows(self, features: Tensor, *, spread: bool) -> Prediction:
        """Return corrected revenue, the mean cost, and the spreads if asked for."""
        found = [member.predict_rows(features, spread=spread) for member in self.members]
        revenue, revenue_spread = _mean_and_spread([(p.revenue, p.revenue_spread) for p in found])
        cost, cost_spread = _mean_and_spread([(p.cost, p.cost_spread) for p in found])
        rows = features.to(revenue.device)
        served = _corrected(revenue, rows, self.corrections)
        if self.cost_corrections:
            cost = _corrected(cost, rows, self.cost_corrections).clamp(min=0)
        if self.in_sample is None:
            return Prediction(served, cost, revenue_spread, cost_spread)
        other = self.in_sample.predict_rows(features, spread=spread)
        share = len(self.in_sample.corrections) / len(self._serving())
        _, revenue_spread = _mean_and_spread(
            [(served, revenue_spread), (other.revenue, other.revenue_spread)]
        )
        cost, cost_spread = _mean_and_spread([(cost, cost_spread), (other.cost, other.cost_spread)])
        revenue = (1 - share) * served + share * other.revenue
        return Prediction(revenue, cost, revenue_spread, cost_spread)

    def _serving(self) -> tuple[Correction, ...]:
        """Return all corrections whose answers are averaged."""
        return self.corrections + (() if self.in_sample is None else self.in_sample.corrections)

    def account(
        self, feature_names: Sequence[str], treatment_names: Sequence[str]
    ) -> dict[str, object]:
        """Return the corrections `in_words`, and as numbers for the features that matter most.

        ``correction``: share of the average revenue per standard deviation of a feature, with
        ``features`` (at most six, the largest first), ``treatments`` and ``shares`` (features by
        treatments).
        """
        names = {"feature_names": feature_names, "treatment_names": treatment_names}
        effect = effects(self._serving())[:, 1:]
        most = effect.abs().amax(dim=0).argsort(descending=True, stable=True)[:_TOLD]
        features, arms = labels(effect, feature_names, treatment_names)
        return {
            "words": [*in_words(self._serving(), **names), *self._costs(), *self._learned_as(arms)],
            "correction": {
                "features": [features[place] for place in most.tolist()],
                "treatments": list(arms),
                "shares": effect[:, most].T.tolist(),
            },
        }

    def _costs(self) -> list[str]:
        """Say that costs are corrected, if they are."""
        found = [one.disagreement or 0.0 for one in self.cost_corrections]
        if not found:
            return []
        return [
            "The logs' costs are not the experiment's (twice the log evidence "
            f"{sum(found) / len(found):.0f}): predicted costs are corrected, too."
        ]

    def _learned_as(self, arms: Sequence[str]) -> list[str]:
        """Say at what sizes outcomes were winsorised, and where logs counted otherwise."""
        tails = [
            f"Tails are heavy: single revenues above {found['revenue']:.4g} and costs above "
            f"{found['cost']:.4g} were learned as of that size, and all scaled to the same total."
            for found in self.history.get("tails", ())
        ]
        told = []
        units = self.history.get("units_by_treatment", ())  # none where nothing was divided
        for name in ("revenue", "cost"):
            apart = [
                f"{found[name]:.3g} ({arm})"
                for arm, found in zip(arms, units, strict=False)
                if found[name] != 1
            ]
            if apart:
                told.append(
                    f"The logs' {name} is {', '.join(apart)} times the experiment's for the same "
                    "people, as if counted otherwise: it was divided by that before anything was "
                    "learned."
                )
        return [*tails, *told]

    def state(self) -> State:
        """Return the states of the members, the corrections and the history."""
        tensors: dict[str, Tensor] = {}
        kinds = {"corrections": self.corrections, "cost_corrections": self.cost_corrections}
        about: dict[str, Any] = {
            "members": len(self.members),
            **{kind: [] for kind in kinds},
            "history": dict(self.history),
        }
        for index, member in enumerate(self.members):
            inside, described = member.state().within(f"member-{index}/")
            tensors |= inside
            about |= described
        for kind, corrections in kinds.items():
            for index, correction in enumerate(corrections):
                columns = {**vars(correction), **vars(correction.basis)}
                del columns["basis"]
                held = {name: one for name, one in columns.items() if isinstance(one, Tensor)}
                tensors |= {f"{kind}-{index}/{name}": one for name, one in held.items()}
                about[kind].append({k: v for k, v in columns.items() if k not in held})
        if self.in_sample is not None:
            inside, described = self.in_sample.state().within("in-sample/")
            tensors |= inside
            about |= described
        # Copies: members may share tensors, such as their scaling, and a file holds each once.
        return State("grounded", {name: one.clone() for name, one in tensors.items()}, about)

    @classmethod
    def of_state(cls, state: State) -> Self:
        """Return the model that `state` described."""
        members = range(state.about["members"])
        corrections, cost_corrections = (
            tuple(
                _correction(state.tensors, f"{kind}-{index}/", numbers)
                for index, numbers in enumerate(state.about[kind])
            )
            for kind in ("corrections", "cost_corrections")
        )
        return cls(
            tuple(model_of(state.nested(f"member-{index}/")) for index in members),
            corrections,
            cost_corrections,
            state.about["history"],
            cls.of_state(state.nested("in-sample/")) if "in-sample/" in state.about else None,
        )


def _corrected(outcome: Tensor, features: Tensor, corrections: Sequence[Correction]) -> Tensor:
    """Return the mean of what corrections make of an outcome ``(N, M)``."""
    return torch.stack([correction(outcome, features) for correction in corrections]).mean(dim=0)


def _correction(
    tensors: Mapping[str, Tensor], prefix: str, numbers: Mapping[str, Any]
) -> Correction:
    """Return the correction whose tensors stand under a prefix."""
    own: dict[str, Any] = {
        k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)
    }
    basis = Basis(**{f.name: own.pop(f.name) for f in fields(Basis)})
    return Correction(basis=basis, **own, **numbers)


def _mean_and_spread(
    parts: list[tuple[Tensor, Tensor | None]],
) -> tuple[Tensor, Tensor | None]:
    """Return the mean over models, and their spread: within each and between them."""
    means = torch.stack([mean for mean, _ in parts])
    spreads = [spread for _, spread in parts if spread is not None]
    if not spreads:
        return means.mean(dim=0), None
    within = torch.stack(spreads).square().mean(dim=0)
    return means.mean(dim=0), (within + means.var(dim=0, correction=0)).sqrt()
