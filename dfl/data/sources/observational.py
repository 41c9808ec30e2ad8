"""`observational_hybrid`: a study without any randomised row, and what it then rests on."""

import warnings
from dataclasses import replace

import torch
from torch import Tensor

from dfl.data.encoding.base import DataWarning
from dfl.data.hybrid import Held, HybridData, HybridRecipe
from dfl.data.uplift_data import UpliftData
from dfl.errors import InvalidValueError

__all__ = ["observational_hybrid"]

_LEAST_CHANCE = 0.01  # no weight exceeds 100; with more than 50 treatments half an even share


def observational_hybrid(
    data: UpliftData, *, seed: int, recipe: HybridRecipe, held: Held
) -> HybridData:
    """Split observational rows; those that validate and report are weighted.

    Their weights are the chances of the treatments given the features: known ones where the
    rows carry them, else those of a logistic regression on the training rows, at least 0.01
    each (of M > 50 treatments ``0.5 / M``). What is read off them holds if the features explain
    why people were treated as they were; nothing in the rows can show that.

    Args:
        data: observational rows.
        seed: the same seed gives the same parts.
        recipe: its ``pool`` is the fraction of training rows.
        held: validation and test rows that are there already; with both, all rows train.

    Raises:
        InvalidValueError: if the rows are randomised, a part misses a treatment, or the recipe
            would bias logs.

    Warns:
        DataWarning: unless validation and test rows are there.
    """
    if data.source != "obs":
        raise InvalidValueError("observational_hybrid needs observational rows, got source 'rct'.")
    recipe.refuse_bias("observational rows")
    obs, *parts = held.divide(data, recipe, "pool", seed=seed)
    if held.validation is None or held.test is None:
        known = "known" if data.propensity is not None else "estimated"
        warnings.warn(
            "these rows are all observational: models are chosen and reported by weighting rows "
            f"with {known} chances of treatment, which is right only if the features explain why "
            "people were treated as they were. A few randomised rows would tell.",
            DataWarning,
            stacklevel=3,
        )
        chances = _logistic(obs) if data.propensity is None else None
        parts = [_weighted(part, chances) if part.source == "obs" else part for part in parts]
    return HybridData(rct=None, obs=obs, validation=parts[0], test=parts[1])


def _weighted(part: UpliftData, weights: tuple[Tensor, Tensor] | None) -> UpliftData:
    """Return the rows as if drawn with the chances that the features give."""
    propensity = part.propensity
    if weights is not None:
        slopes, offsets = weights
        chances = (part.features.double() @ slopes + offsets).softmax(dim=1)
        least = min(_LEAST_CHANCE, 0.5 / part.treatments)
        above = (chances - least).clamp_min(0)  # what is lifted is taken from the others' share
        room = 1 - least * part.treatments
        propensity = (least + above * room / above.sum(dim=1, keepdim=True)).to(part.features)
    return replace(part, source="rct", propensity=propensity)


def _logistic(data: UpliftData) -> tuple[Tensor, Tensor]:
    """Return slopes ``(F, M)`` and offsets ``(M,)`` of the chance of each treatment."""
    if data.treatments == 1 or data.features.shape[1] == 0:  # nothing to tell people apart by
        slopes = torch.zeros(data.features.shape[1], data.treatments, dtype=torch.float64)
        return slopes, data.arm_counts.double().log()
    # scikit-learn takes a while to import, and hardly anybody needs it here.
    from sklearn.linear_model import LogisticRegression

    spread, mean = torch.std_mean(data.features.double(), dim=0, correction=0)
    scale = torch.where(spread > 0, spread, 1.0)
    model = LogisticRegression(max_iter=1000)
    model.fit(((data.features.double() - mean) / scale).numpy(), data.treatment.numpy())
    slopes, offsets = torch.from_numpy(model.coef_.T), torch.from_numpy(model.intercept_)
    if slopes.shape[1] == 1:  # scikit-learn leaves out the first of two
        slopes = torch.cat([torch.zeros_like(slopes), slopes], dim=1)
        offsets = torch.cat([torch.zeros_like(offsets), offsets])
    slopes = slopes / scale[:, None]
    return slopes, offsets - mean @ slopes
