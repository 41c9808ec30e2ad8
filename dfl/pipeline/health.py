"""Health of a run: whether predictions, randomisation and rows are what they are taken for."""

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfl.data import HybridData, UpliftData
from dfl.models import Prediction
from dfl.stats import adjust_p_values, interval_factor
from dfl.stats.randomisation import counts_p_value

__all__ = ["health"]

_GROUPS = 5  # of rows, by what is predicted
_MOST = 20_000  # rows on which overlap and balance are judged
_SHOWN = 5  # features
_LOW = 0.01  # quantile of the chances of a treatment
_SAME = 1e-9  # relative


def health(
    data: HybridData, predicted: Prediction, choice: Tensor, level: float, features: tuple[str, ...]
) -> dict[str, Any]:
    """Check what the numbers of a run rest on.

    Args:
        data: all rows.
        predicted: revenue and cost of the test rows.
        choice: an allocation of the test rows.
        level: of the intervals.
        features: their names.

    Returns:
        ``calibration``: predicted against observed revenue and cost under the treatment
        received, on the test rows; ``matched``: test rows that received what the allocation
        gives them, which its value rests on most; ``sample_ratio``: rows of each arm against
        the known propensities; ``balance``: the feature that differs most between randomised
        arms; ``overlap``: how rarely the logged policy gives each treatment; ``drift``: features
        whose mean differs most between training and test rows, in standard deviations.

    Source:
        Austin (2009), doi:10.1002/sim.3697 (differences of means in standard deviations).
    """
    test = data.test
    matched = test.treatment.cpu() == choice.cpu()
    weight = test.weight.double().cpu()[matched]
    effective = float(weight.sum() ** 2 / weight.square().sum()) if len(weight) else 0.0
    trained = [part for part in (data.rct, data.obs) if part is not None]
    randomised = [part for part in (data.rct, data.validation, test) if part is not None]
    return {
        "calibration": {
            "revenue": _calibration(test, predicted.revenue, test.revenue, level),
            "cost": _calibration(test, predicted.cost, test.cost, level),
        },
        "matched": {"rows": int(matched.sum()), "effective": effective},
        "sample_ratio": _sample_ratio(randomised),
        "balance": _balance(randomised, features),
        "overlap": None if data.obs is None else _overlap(data.obs),
        "drift": _drift(trained, test, features),
    }


def _calibration(rows: UpliftData, given: Tensor, observed: Tensor, level: float) -> dict[str, Any]:
    """Compare means, and fit ``observed = a + slope * predicted``; then group by group."""
    ours = given.cpu().gather(1, rows.treatment.cpu()[:, None])[:, 0].double()
    found = observed.cpu().double()
    spread = float(ours.var(correction=0))
    level_of = float(ours.abs().max())
    slope = error = None
    if spread > (_SAME * level_of) ** 2:
        away, off = ours - ours.mean(), found - found.mean()
        slope = float((away * off).mean()) / spread
        error = float((away * (off - slope * away)).square().sum().sqrt()) / (len(ours) * spread)
    order = ours.argsort(stable=True)
    parts = [part for part in order.tensor_split(_GROUPS) if len(part)]
    return {
        **_means(ours, found, level),
        "slope": slope,
        "slope_error": error,
        "groups": [_means(ours[part], found[part], level) for part in parts],
    }


def _means(ours: Tensor, found: Tensor, level: float) -> dict[str, Any]:
    """Return mean prediction and mean observation, the latter with its interval."""
    mean, rows = float(found.mean()), len(found)
    reach = interval_factor(level) * float(found.std(correction=0)) / rows**0.5
    observed = {"value": mean, "low": mean - reach, "high": mean + reach}
    return {"rows": rows, "predicted": float(ours.mean()), "observed": observed}


def _sample_ratio(parts: list[UpliftData]) -> dict[str, Any]:
    """Hold the rows of every arm against their propensities, where these are known."""
    counts = sum(part.arm_counts.cpu() for part in parts)
    assert isinstance(counts, Tensor)
    given = [part.propensity for part in parts if part.propensity is not None]
    known = [one.double().sum(dim=0).cpu() for one in given]
    if len(known) < len(parts):
        return {"counts": counts.tolist(), "planned": None, "p_value": None}
    planned = torch.stack(known).sum(dim=0)
    possible = planned > 0
    p_value = 1.0
    if int(possible.sum()) > 1:
        expected = planned[possible] * counts.sum() / planned.sum()
        p_value = counts_p_value(counts[possible].numpy(), expected.numpy())
    shares = (planned / planned.sum()).tolist()
    return {"counts": counts.tolist(), "planned": shares, "p_value": p_value}


def _balance(parts: list[UpliftData], features: tuple[str, ...]) -> dict[str, Any] | None:
    """Test whether a feature's mean differs between arms; None where chances differ by person."""
    from sklearn.feature_selection import f_classif

    for part in parts:
        if part.propensity is not None and bool(
            ((part.propensity - part.propensity[0]).abs() > 1e-6).any()
        ):
            return None
    given = torch.cat([part.features.cpu() for part in parts]).double()
    arm = torch.cat([part.treatment.cpu() for part in parts])
    given, arm = _thinned(given), _thinned(arm)
    varies = (given.amax(dim=0) > given.amin(dim=0)).nonzero()[:, 0]
    if not len(varies) or len(torch.unique(arm)) < 2:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        p_values = f_classif(given[:, varies].numpy(), arm.numpy())[1]
    adjusted = adjust_p_values(np.nan_to_num(p_values, nan=1.0), correction="holm")
    worst = int(adjusted.argmin())
    return {"feature": features[int(varies[worst])], "p_value": float(adjusted[worst])}


def _overlap(obs: UpliftData) -> list[float]:
    """Return, per treatment, the chance of it that 1 % of the logged people fall below.

    Chances are the known ones, else those of a logistic regression on the features.
    """
    if obs.propensity is not None:
        chances = obs.propensity.double().cpu()
        return [float(chances[:, arm].quantile(_LOW)) for arm in range(obs.treatments)]
    from sklearn.linear_model import LogisticRegression

    given, arm = _thinned(obs.features.double().cpu()), _thinned(obs.treatment.cpu())
    spread = given.std(dim=0, correction=0)
    given = (given - given.mean(dim=0)) / torch.where(spread > 0, spread, 1)
    found = [0.0] * obs.treatments
    if len(torch.unique(arm)) < 2:
        found[int(arm[0])] = 1.0
        return found
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether it has converged to the last digit
        fit = LogisticRegression(max_iter=100).fit(given.numpy(), arm.numpy())
        lowest = np.quantile(fit.predict_proba(given.numpy()), _LOW, axis=0)
    for place, one in zip(fit.classes_, lowest, strict=True):
        found[int(place)] = float(one)
    return found


def _drift(
    training: list[UpliftData], test: UpliftData, features: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Return the features whose means differ most, in standard deviations of the training rows."""
    before = torch.cat([part.features.cpu() for part in training]).double()
    now = test.features.cpu().double()
    spread = before.std(dim=0, correction=0)
    away = now.mean(dim=0) - before.mean(dim=0)
    # A feature that never varied in training and does now has moved by its own spread.
    spread = torch.where(spread > 0, spread, now.std(dim=0, correction=0).clamp_min(away.abs()))
    shift = torch.where(spread > 0, away / spread, 0)
    order = shift.abs().argsort(descending=True, stable=True)[:_SHOWN]
    error = (1 / len(before) + 1 / len(now)) ** 0.5
    return [
        {"feature": features[k], "shift": float(shift[k]), "error": error} for k in order.tolist()
    ]


def _thinned(rows: Tensor) -> Tensor:
    """Return at most so many rows, evenly spaced."""
    return rows[:: -(-len(rows) // _MOST)]
