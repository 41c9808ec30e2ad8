"""`Bias`: an old policy that sees a feature which is then taken away."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.checks import check_number
from dfl.data.encoder import FeatureEncoder
from dfl.data.simulators.old_policy import RidgePolicy
from dfl.data.uplift_data import UpliftData
from dfl.errors import InvalidValueError, UnknownNameError
from dfl.registry import unknown_name

__all__ = ["Bias"]


@final
@dataclass(frozen=True, kw_only=True)
class Bias:
    """Biases the logs of a recipe on purpose: hidden confounding on real rows.

    The old policy draws treatment j with a chance proportional to ``exp(score_j / spread +
    strength z (d_j - 1/2))``: ``score`` is that of `RidgePolicy`, ``spread`` its standard deviation
    between the treatments of a person, ``z`` the feature in standard deviations, and ``d`` runs in
    equal steps from 0 for the treatment of least mean cost to 1 for that of most. Where the
    feature moves outcomes too, the logs then mistake it for the treatments' doing.

    Args:
        feature: name of the feature that the policy follows.
        strength: what a standard deviation of it adds to the log-odds of the dearest treatment
            against the cheapest; negative: it takes away.
        hidden: columns that nobody sees but the old policy, by name; None: the column of the
            feature. Columns that tell the same story are hidden by naming them too.

    Raises:
        InvalidValueError: if ``strength`` is not finite.
    """

    feature: str
    strength: float = 2.0
    hidden: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Check the number."""
        check_number("strength", self.strength)

    def check(self, encoder: FeatureEncoder) -> None:
        """Refuse names that are not there; nothing is made for that.

        Args:
            encoder: names features and columns.

        Raises:
            UnknownNameError: if there is no such feature or column.
            InvalidValueError: if features have no names, or no column would be left.
        """
        names = encoder.feature_names
        if not names:
            raise InvalidValueError(
                "bias names a feature, and these rows have no feature_names; give them some."
            )
        if self.feature not in names:
            raise UnknownNameError(f"bias: {unknown_name('features', self.feature, names)}")
        self.visible(encoder)

    def chances(
        self, training: UpliftData, features: Tensor, encoder: FeatureEncoder, share: float
    ) -> Tensor:
        """Return the old policy's chance of each treatment. Shape ``(N, M)``.

        Args:
            training: randomised rows that train the policy.
            features: of the people whom it treats. Shape ``(N, F)``.
            encoder: names the features.
            share: budget of the ridge policy.

        Raises:
            InvalidValueError: if the feature is the same for all rows of training.
        """
        column = encoder.feature_names.index(self.feature)
        spread, mean = torch.std_mean(training.features[:, column].double(), correction=0)
        if not bool(spread > 0):
            raise InvalidValueError(
                f"bias: feature {self.feature!r} is the same in all {len(training)} rows that "
                "train the old policy, which cannot follow it; choose another feature."
            )
        ridge = RidgePolicy.fit(training, share=share)
        between = ridge.scores(training.features).std(dim=1, correction=0).mean()
        score = ridge.scores(features) / torch.where(between > 0, between, 1.0)
        arms = training.treatments
        cost = training.cost.double()
        paid = torch.stack([cost[training.treatment == arm].mean() for arm in range(arms)])
        depth = paid.argsort(stable=True).argsort().float() / max(arms - 1, 1) - 0.5
        z = (features[:, column].double() - mean) / spread
        return (score + self.strength * z[:, None] * depth).softmax(dim=1)

    def visible(self, encoder: FeatureEncoder) -> tuple[Tensor, FeatureEncoder]:
        """Return which features are left, bool ``(F,)``, and the encoder of their columns.

        Raises:
            UnknownNameError: if a hidden column is not there.
            InvalidValueError: if no column would be left.
        """
        hidden = self.hidden
        if hidden is None:
            hidden = tuple(one.name for one in encoder.columns if self.feature in one.feature_names)
        known = [one.name for one in encoder.columns]
        for name in hidden:
            if name not in known:
                raise UnknownNameError(f"bias.hidden: {unknown_name('columns', name, known)}")
        left = tuple(one for one in encoder.columns if one.name not in hidden)
        if not left:
            raise InvalidValueError(
                f"bias.hidden takes every column ({', '.join(known)}); leave one to the methods."
            )
        kept = [one.name not in hidden for one in encoder.columns for _ in one.feature_names]
        return torch.tensor(kept), FeatureEncoder(left)
