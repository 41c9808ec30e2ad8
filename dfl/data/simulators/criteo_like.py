"""`CriteoLikeSimulator`: one advertisement or none, calibrated to the Criteo uplift file."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from dfl.data.simulators.criteo_profile import OFF_MODE_THRESHOLDS, FeatureState, features_of
from dfl.data.simulators.simulator import AbstractSimulator, Assign, Draws

__all__ = ["CriteoLikeSimulator"]

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

    feature_names: ClassVar[tuple[str, ...]] = tuple(f"f{column}" for column in range(12))
    treatment_names: ClassVar[tuple[str, ...]] = ("control", "treated")

    def _draw(self, rows: int, generator: torch.Generator, assign: Assign) -> Draws:
        state = _state(rows, generator)
        visit, conversion, keenness = _chances(state)
        hidden = (torch.rand(rows, generator=generator) * 2 - 1) * math.sqrt(3)
        treatment, propensity = assign(self._old_policy(state, keenness, hidden))

        mood = 1 + _HIDDEN_EFFECT * self.hidden_confounding * hidden
        own_visit = visit.gather(0, treatment[None]).squeeze(0) * mood
        own_conversion = conversion.gather(0, treatment[None]).squeeze(0) * mood
        uniform = torch.rand(rows, generator=generator)
        return Draws(
            features=features_of(state),
            treatment=treatment,
            revenue=self._observe(own_conversion, (uniform < own_conversion).float()),
            cost=self._observe(own_visit, (uniform < own_visit).float()),
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
    activity = torch.randn(rows, generator=generator)
    own = torch.randn((len(OFF_MODE_THRESHOLDS), rows), generator=generator)
    latent = _COMMON_ACTIVITY * activity + math.sqrt(1 - _COMMON_ACTIVITY**2) * own
    active = (latent > torch.tensor(OFF_MODE_THRESHOLDS)[:, None]).float()
    return FeatureState(active, torch.rand((12, rows), generator=generator))


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
    converts += torch.tensor(_CONVERSION_INTERCEPTS)[:, None]
    visit = _MOST_VISITS * visit.sigmoid()
    return visit, visit * _MOST_CONVERSIONS * converts.sigmoid(), keenness
