"""`CriteoLikeSimulator`: one advertisement or none, calibrated to the Criteo uplift file."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, final

import numpy as np
import torch
from torch import Tensor

from dfl.data.simulators.simulator import AbstractSimulator, Assign, Draws
from dfl.seeds import normal, uniform

__all__ = ["OFF_MODE_THRESHOLDS", "CriteoLikeSimulator", "FeatureState", "features_of"]

_MOST_VISITS = 0.5  # ceiling of the chance of a visit
_MOST_CONVERSIONS = 0.5  # ceiling of the chance that a visit converts
_HIDDEN_EFFECT = 0.5  # 0.5 * (1 + 0.5 * sqrt(3)) < 1 keeps chances valid
_COMMON_ACTIVITY = 0.6  # correlation by which feature groups leave their mode together

# Solved on 16 million people so that the four rates equal those of the full file
# (Diemert et al. 2018, v2.1: visits 80,105 of 2,096,937 untreated and 576,824 of 11,882,655
# treated people, conversions 4,063 and 36,711).
_VISIT_INTERCEPT = -3.5560
_VISIT_EFFECT = 0.2366
_CONVERSION_INTERCEPTS = (-2.4749, -2.3571)


# For each feature: the mode, the share of rows at the mode, and (level, quantile) away from
# it, over the 13,979,592 rows of Criteo Uplift v2.1 (Diemert et al. 2018). The mode is the
# least value where the levels rise to 1, and the greatest where they start at 0.
_PROFILE: Final = (
    (12.6164, 0.265068, ((0.5, 21.92), (0.75, 24.44), (0.99, 26.67), (0.999, 26.74), (1, 26.75))),
    (10.0597, 0.987700, ((0.99, 10.6795), (0.999, 11.4604), (1, 16.3442))),
    (8.2144, 0.522435, ((0.75, 8.7233), (0.99, 9.0429), (0.999, 9.0513), (1, 9.0520))),
    (4.6799, 0.818622, ((0, -8.3984), (0.001, -3.8581), (0.01, -1.7332))),
    (10.2805, 0.956587, ((0.99, 11.9733), (0.999, 14.6245), (1, 21.1235))),
    (4.1155, 0.946962, ((0, -9.0119), (0.001, -0.7560), (0.01, 2.2309))),
    (0.2944, 0.265068, ((0, -31.43), (0.001, -21.92), (0.01, -17.78), (0.25, -6.70), (0.5, -2.41))),
    (4.8338, 0.946962, ((0.99, 11.4821), (0.999, 11.9558), (1, 11.9984))),
    (3.9719, 0.522435, ((0, 3.6351), (0.001, 3.7051), (0.01, 3.7516), (0.25, 3.9108))),
    (13.1901, 0.794968, ((0.99, 44.8936), (0.999, 53.8103), (1, 75.2950))),
    (5.3004, 0.956587, ((0.99, 6.3373), (0.999, 6.4604), (1, 6.4739))),
    (-0.1687, 0.985523, ((0, -1.3839), (0.001, -0.5060), (0.01, -0.2674))),
)

# Pairs have the same share at the mode in the file to every digit: they leave it together.
_GROUP_OF_FEATURE: Final = (0, 1, 2, 3, 4, 5, 0, 5, 2, 6, 4, 7)
_FIRST_OF_GROUP: Final = (0, 1, 2, 3, 4, 5, 9, 11)

# A standard normal above the threshold of its group takes the group off its mode.
OFF_MODE_THRESHOLDS: Final = tuple(
    NormalDist().inv_cdf(_PROFILE[feature][1]) for feature in _FIRST_OF_GROUP
)


@final
@dataclass(frozen=True, eq=False)
class FeatureState:
    """Where a person stands in every feature.

    Args:
        active: 1 where a group of features is off its mode: f0 f6, f1, f2 f8, f3, f4 f10,
            f5 f7, f9, f11. Shape ``(8, n)``.
        position: place of each feature in the range away from its mode, from its least value
            (0) to its greatest (1). Without meaning at the mode. Shape ``(12, n)``.
    """

    active: Tensor
    position: Tensor


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class CriteoLikeSimulator(AbstractSimulator):
    """People who see an advertisement or not, who may visit, and then may convert.

    Revenue is a conversion (0 or 1), cost a visit (0 or 1); a conversion implies a visit. For
    features ``x`` and hidden mood ``u`` the chance of a visit is ``v_t(x) (1 + 0.5
    hidden_confounding u)`` and that of a conversion ``q_t(x)`` times it. The advertisement
    never lowers the chance of a visit; its effect differs between people and is worth more
    conversions per visit for some than for others.

    The mean rates without and with advertisement are those of the Criteo file: visits .0382
    and .0485, conversions .00194 and .00309. The twelve features have its modes, the shares
    of the modes and its quantiles, and leave their modes in the same pairs.

    The old policy shows the advertisement to people who visit anyway. With hidden
    confounding it also follows the mood, upwards for some people and downwards for others.

    Options: see `AbstractSimulator`; the file itself has ``rct_shares=(0.15, 0.85)``.

    Source:
        Rates and quantiles of Diemert, Betlei, Renaudin, Amini (2018), AdKDD, Criteo Uplift
        v2.1. The response functions are our own: the file does not show them.
    """

    @property
    def treatment_names(self) -> tuple[str, ...]:
        """``control`` and ``treated``."""
        return ("control", "treated")

    @property
    def feature_names(self) -> tuple[str, ...]:
        """``f0`` to ``f11``, as in the file."""
        return tuple(f"f{column}" for column in range(12))

    def _draw(self, rows: int, generator: torch.Generator, assign: Assign) -> Draws:
        state = _state(rows, generator)
        visit, conversion, keenness = _chances(state)
        hidden = (uniform(rows, generator=generator) * 2 - 1) * math.sqrt(3)
        treatment, propensity = assign(self._old_policy(state, keenness, hidden))

        mood = 1 + _HIDDEN_EFFECT * self.hidden_confounding * hidden
        own_visit = visit.gather(0, treatment[None]).squeeze(0) * mood
        own_conversion = conversion.gather(0, treatment[None]).squeeze(0) * mood
        drawn = uniform(rows, generator=generator)
        return Draws(
            features=features_of(state),
            treatment=treatment,
            revenue=self._observe(own_conversion, (drawn < own_conversion).float()),
            cost=self._observe(own_visit, (drawn < own_visit).float()),
            expected_revenue=conversion,
            expected_cost=visit,
            propensity=propensity,
        )

    def _old_policy(self, state: FeatureState, keenness: Tensor, hidden: Tensor) -> Tensor:
        """Return the scores of not showing (0) and showing the advertisement."""
        seen = 1.2 * self.confounding * (keenness - 1)
        moody = (
            3
            * self.hidden_confounding
            * hidden
            * (2 * state.active[0] * state.position[0] - 0.6).tanh()
        )
        score = seen + moody
        return torch.stack([torch.zeros_like(score), score])


def _state(rows: int, generator: torch.Generator) -> FeatureState:
    """Draw which groups of features leave their mode, and where the features then lie."""
    activity = normal(rows, generator=generator)
    own = normal(len(OFF_MODE_THRESHOLDS), rows, generator=generator)
    latent = _COMMON_ACTIVITY * activity + math.sqrt(1 - _COMMON_ACTIVITY**2) * own
    active = (latent > latent.new_tensor(OFF_MODE_THRESHOLDS)[:, None]).float()
    return FeatureState(active, uniform(12, rows, generator=generator))


def _chances(state: FeatureState) -> tuple[Tensor, Tensor, Tensor]:
    """Return the chances of a visit and of a conversion ``(2, n)``, and keenness ``(n,)``."""
    (f06, f1, f28, f3, f410, f57, f9, f11), place = state.active, state.position
    keenness = (
        1.6 * f28 * (place[2] - 0.2)
        + 2.0 * f9 * (0.3 + place[9])
        + 1.4 * f410 * (0.5 + place[10])
        + 1.2 * f57 * place[7]
        - 0.8 * f3 * (1 - place[3])
        + 0.9 * f06 * (place[0] - 0.5)
        + 0.8 * f11 * place[11]
        + 0.7 * f1
    )
    attention = (
        1.0 * f06 * (place[6] - 0.4)
        + 0.9 * f28 * place[8] * (1 - f9)
        - 0.9 * f9 * place[9]
        + 0.6 * f57
        - 0.5 * f3 * place[3]
    )
    intent = (
        1.4 * f57 * (0.4 + place[5])
        + 1.0 * f9 * (place[9] - 0.3)
        - 0.8 * f28 * place[2]
        + 0.7 * f410 * place[4]
        + 0.6 * f06 * (place[0] - 0.5)
    )
    persuasion = (
        0.8 * f3 * place[3]
        + 0.7 * f06 * (place[0] - 0.4)
        - 0.5 * f57 * place[5]
        + 0.6 * f28 * (place[2] - 0.5)
    )
    untreated = _VISIT_INTERCEPT + keenness
    visit = torch.stack([untreated, untreated + _VISIT_EFFECT * (1.2 * attention).exp()])
    converts = torch.stack([intent, intent + 0.9 * persuasion])
    converts += converts.new_tensor(_CONVERSION_INTERCEPTS)[:, None]
    visit = _MOST_VISITS * visit.sigmoid()
    return visit, visit * _MOST_CONVERSIONS * converts.sigmoid(), keenness


def features_of(state: FeatureState) -> Tensor:
    """Return the features, shape ``(12, n)``: the mode, or the quantile at the position."""
    features = torch.empty_like(state.position)
    for feature, (mode, _, _) in enumerate(_PROFILE):
        away = _quantile(feature, state.position[feature])
        active = state.active[_GROUP_OF_FEATURE[feature]]
        features[feature] = torch.where(active > 0, away, mode)
    return features


def _quantile(feature: int, position: Tensor) -> Tensor:
    """Interpolate the quantiles away from the mode, at positions in [0, 1]."""
    mode, share, quantiles = _PROFILE[feature]
    if quantiles[-1][0] == 1:  # the mode is the least value
        knots = [
            (0.0, mode),
            *(((level - share) / (1 - share), value) for level, value in quantiles),
        ]
    else:
        knots = [*((level / (1 - share), value) for level, value in quantiles), (1.0, mode)]
    places, values = zip(*knots, strict=True)
    return torch.from_numpy(np.interp(position.numpy(), places, values)).to(position)
