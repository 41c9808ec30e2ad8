"""Health of a run: whether predictions, randomisation and rows are what they are taken for."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from dfl.data import HybridData, UpliftData
from dfl.models import Prediction
from dfl.pipeline.today import mean_error
from dfl.stats import adjust_p_values, interval_factor
from dfl.stats.randomisation import counts_p_value

__all__ = ["health", "served_drift"]

_GROUPS = 5  # of rows, by what is predicted
_MOST = 20_000  # rows on which features are judged
_NUMBERS = 4_000_000  # of their features
_SHOWN = 5  # features
_LOW = 0.01  # quantile of the chances of a treatment
_SAME = 1e-9  # relative
_MOVED, _SURE = 0.1, 3.0  # standard deviations and errors that people differ by
_EVEN = 1e-6  # chances that differ by less are the same


def health(
    data: HybridData, predicted: Prediction, choice: Tensor, level: float, features: tuple[str, ...]
) -> dict[str, Any]:
    """Check what the numbers of a run rest on; rows of a group count together.

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
        whose mean differs most between training and test rows, in standard deviations;
        ``trained``: mean and standard deviation of every feature on the training rows, and how
        many independent rows they are worth (``units``), which customers are held against when
        they are served.

    Source:
        Austin (2009), doi:10.1002/sim.3697 (differences of means in standard deviations).
    """
    test = data.test
    matched = test.treatment.cpu() == choice.cpu()
    weight = test.weight.double().cpu()[matched]
    effective = float(weight.sum() ** 2 / weight.square().sum()) if len(weight) else 0.0
    before, households = _features([part for part in (data.rct, data.obs) if part is not None])
    mean, spread = before.mean(dim=0), before.std(dim=0, correction=0)
    trained_units = _independent(before, households)
    randomised = [part for part in (data.rct, data.validation, test) if part is not None]
    units = _Units.of(randomised)
    counts = torch.stack([part.arm_counts.cpu() for part in randomised]).sum(dim=0)
    return {
        "calibration": {
            "revenue": _calibration(test, predicted.revenue, test.revenue, level),
            "cost": _calibration(test, predicted.cost, test.cost, level),
        },
        "matched": {"rows": int(matched.sum()), "effective": effective},
        "sample_ratio": _sample_ratio(units, counts),
        "balance": _balance(units, features),
        "overlap": None if data.obs is None else _overlap(data.obs),
        "drift": _drift(trained_units, mean, spread, test, features),
        "trained": {
            "features": list(features),
            "rows": len(before),
            "units": trained_units.tolist(),
            "mean": mean.tolist(),
            "spread": spread.tolist(),
        },
    }


def served_drift(health: Mapping[str, Any], mean: Tensor, people: int) -> list[tuple[str, float]]:
    """Return the features by which served people differ from the training rows beyond chance.

    Args:
        health: of the run; an earlier version kept no means, or no units.
        mean: of the features of the people. Shape ``(F,)``.
        people: how many they are, >= 1.

    Returns:
        Names and differences of means, in standard deviations of the training rows, the largest
        first: those above a tenth and three standard errors.
    """
    trained = health.get("trained")
    if trained is None:
        return []
    names = trained["features"]
    units = trained.get("units") or [trained["rows"]] * len(names)
    columns = zip(names, units, mean.tolist(), trained["mean"], trained["spread"], strict=True)
    moved = [
        (name, (now - was) / spread)
        for name, unit, now, was, spread in columns
        if spread > 0
        and abs(now - was) / spread > max(_MOVED, _SURE * (1 / unit + 1 / people) ** 0.5)
    ]
    return sorted(moved, key=lambda one: -abs(one[1]))


def _calibration(rows: UpliftData, given: Tensor, observed: Tensor, level: float) -> dict[str, Any]:
    """Compare means, and fit ``observed = a + slope * predicted``; then group by group.

    Rows that are predicted alike are of one group, that of their middle.
    """
    ours = given.cpu().gather(1, rows.treatment.cpu()[:, None])[:, 0].double()
    found = observed.cpu().double()
    groups = None if rows.groups is None else rows.groups.cpu()
    spread = float(ours.var(correction=0))
    slope = error = None
    if spread > (_SAME * float(ours.abs().max())) ** 2:
        away, off = ours - ours.mean(), found - found.mean()
        slope = float((away * off).mean()) / spread
        error = mean_error(away * (off - slope * away), groups) / spread

    def part(at: Tensor) -> dict[str, Any]:
        mean = float(found[at].mean())
        own = None if groups is None else groups[at]
        reach = interval_factor(level) * mean_error(found[at], own)
        observed = {"value": mean, "low": mean - reach, "high": mean + reach}
        return {"rows": len(at), "predicted": float(ours[at].mean()), "observed": observed}

    order = ours.argsort(stable=True)
    rising = ours[order]
    ends = [torch.searchsorted(rising, rising, right=right) for right in (False, True)]
    fifth = torch.cat([torch.full_like(at, k) for k, at in enumerate(order.tensor_split(_GROUPS))])
    fifth = fifth[(ends[0] + ends[1] - 1) // 2]
    parts = [part(order[fifth == k]) for k in torch.unique(fifth)]
    return {**part(order), "slope": slope, "slope_error": error, "groups": parts}


@final
@dataclass(frozen=True, eq=False)
class _Units:
    """Randomised rows, one of each group: what is drawn together counts once.

    Args:
        features: of the units, thinned to what is judged at once.
        treatment: of those units.
        counts: units of each arm, all of them.
        planned: what their propensities promise of them, or None where they are not known.
        even: whether everyone had the same chances, as far as is known.
    """

    features: Tensor
    treatment: Tensor
    counts: Tensor
    planned: Tensor | None
    even: bool

    @staticmethod
    def of(parts: list[UpliftData]) -> "_Units":
        first = [_first(part) for part in parts]
        treatment = [part.treatment.cpu()[at] for part, at in zip(parts, first, strict=True)]
        chances = [
            part.propensity.double().cpu()[at]
            for part, at in zip(parts, first, strict=True)
            if part.propensity is not None
        ]
        features = [part.features.cpu()[at] for part, at in zip(parts, first, strict=True)]
        step = _step(sum(map(len, treatment)), features[0].shape[1])
        counts = torch.bincount(torch.cat(treatment), minlength=parts[0].treatments)
        known = len(chances) == len(parts)
        return _Units(
            torch.cat([one[::step] for one in features]).double(),
            torch.cat([one[::step] for one in treatment]),
            counts,
            torch.cat(chances).sum(dim=0) if known else None,
            all(bool(((one - one[0]).abs() < _EVEN).all()) for one in chances),
        )


def _first(part: UpliftData) -> Tensor:
    """Return the places of one row of each group; of all rows where there are none."""
    if part.groups is None:
        return torch.arange(len(part))
    groups = part.groups.cpu()
    order = groups.argsort(stable=True)
    begins = torch.ones(len(order), dtype=torch.bool)
    begins[1:] = groups[order[1:]] != groups[order[:-1]]
    return order[begins].sort().values


def _sample_ratio(units: _Units, counts: Tensor) -> dict[str, Any]:
    """Hold the units of every arm against their propensities, where these are known."""
    planned = units.planned
    if planned is None:
        return {"counts": counts.tolist(), "planned": None, "p_value": None}
    possible, p_value = planned > 0, 1.0
    if int(possible.sum()) > 1:
        expected = planned[possible] * units.counts[possible].sum() / planned.sum()
        p_value = counts_p_value(units.counts[possible].numpy(), expected.numpy())
    shares = (planned / planned.sum()).tolist()
    return {"counts": counts.tolist(), "planned": shares, "p_value": p_value}


def _balance(units: _Units, features: tuple[str, ...]) -> dict[str, Any] | None:
    """Test whether a feature's mean differs between arms; None where chances differ by person."""
    from sklearn.feature_selection import f_classif

    given, arm = units.features, units.treatment
    varies = (given.amax(dim=0) > given.amin(dim=0)).nonzero()[:, 0]
    if not units.even or not len(varies) or len(torch.unique(arm)) < 2:
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

    step = _step(*obs.features.shape)
    given, arm = obs.features[::step].double().cpu(), obs.treatment[::step].cpu()
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


def _features(parts: list[UpliftData]) -> tuple[Tensor, Tensor | None]:
    """Return features and groups of the rows of parts, thinned to what is judged at once."""
    step = _step(sum(map(len, parts)), parts[0].features.shape[1])
    features = torch.cat([part.features[::step].cpu() for part in parts]).double()
    if all(part.groups is None for part in parts):
        return features, None
    alone = -1 - torch.arange(len(features))  # where a part has no groups
    groups, end = [], 0
    for part in parts:
        start, end = end, end + len(part.features[::step])
        groups.append(alone[start:end] if part.groups is None else part.groups[::step].cpu())
    return features, torch.cat(groups)


def _independent(features: Tensor, groups: Tensor | None) -> Tensor:
    """Return how many independent rows the mean of each feature is worth; at most all.

    Between one a group, for what its rows share, and one a row.
    """
    rows = len(features)
    whole = features.new_full((features.shape[1],), rows)
    if groups is None:
        return whole
    away = features - features.mean(dim=0)
    group = torch.unique(groups, return_inverse=True)[1]
    sums = away.new_zeros(int(group.max()) + 1, away.shape[1]).index_add(0, group, away)
    alone, together = away.square().sum(dim=0), sums.square().sum(dim=0)
    return torch.where(together > alone, rows * alone / together, whole)


def _drift(
    trained: Tensor, mean: Tensor, spread: Tensor, test: UpliftData, features: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Return the features whose means differ most, in standard deviations of the training rows."""
    now, groups = _features([test])
    away = now.mean(dim=0) - mean
    # A feature that never varied in training and does now has moved by its own spread.
    spread = torch.where(spread > 0, spread, now.std(dim=0, correction=0).clamp_min(away.abs()))
    shift = torch.where(spread > 0, away / spread, 0)
    order = shift.abs().argsort(descending=True, stable=True)[:_SHOWN]
    error = (1 / trained + 1 / _independent(now, groups)).sqrt()
    return [
        {"feature": features[k], "shift": float(shift[k]), "error": float(error[k])}
        for k in order.tolist()
    ]


def _step(rows: int, features: int) -> int:
    """Return the step between rows, evenly spaced, that leaves as many as are judged."""
    most = max(min(_MOST, _NUMBERS // max(features, 1)), 1)
    return -(-rows // most)
