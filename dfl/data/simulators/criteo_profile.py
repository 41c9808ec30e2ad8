"""The distribution of the features of the Criteo uplift file, and values that follow it."""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, final

import numpy as np
import torch
from torch import Tensor

__all__ = ["OFF_MODE_THRESHOLDS", "FeatureState", "features_of"]

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

OFF_MODE_THRESHOLDS: Final = tuple(
    NormalDist().inv_cdf(_PROFILE[feature][1]) for feature in _FIRST_OF_GROUP
)
"""A standard normal above the threshold of its group takes the group off its mode."""


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
