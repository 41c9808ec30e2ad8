"""Warnings of what is suspicious: features that cannot be known, logs in another unit."""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dfl.data.encoding.base import DataWarning
from dfl.data.uplift_data import UpliftData
from dfl.frames import Frame
from dfl.seeds import stream

__all__ = ["warn_of_suspects", "warn_of_units"]

_ALARM = 1e-3  # chance that sound rows are warned about, over all features together
_COMPARED = 200_000  # rows or groups whose ranks are compared, drawn at random
_LEAST = 25  # rows of the smallest arm expected off the commonest value; below, no test
_CHANCE = 5.0  # standard errors
_UNITS = 5.0  # times: selection alone seldom makes logs differ from an experiment so much


def warn_of_suspects(table: Frame, features: Sequence[str], data: UpliftData) -> None:
    """Look at the features of randomised rows.

    A whole number that differs in every row is an identifier. Where the chance of each
    treatment is the same for everyone, no feature known before treatment differs between the
    arms; ranks are compared by the test of Kruskal and Wallis, corrected for ties and for the
    number of features, those of groups by their means, on up to 200,000 rows.

    Args:
        table: the rows as they came.
        features: feature columns of the table.
        data: the randomised rows among them.

    Warns:
        DataWarning: names every such column.
    """
    counting = [name for name in features if _counts_rows(table, name)]
    if counting:
        _warn(
            f"the columns {counting} hold another whole number in every row, as identifiers do; a "
            "model cannot use an identifier for new people: leave it out by exclude."
        )
    if data.propensity is None:
        moved = _moved(data)
        if moved:
            _warn(
                f"the features {moved} differ between the treatments more than chance allows, as "
                "what is measured after treatment does; nobody knows that when a treatment is "
                "chosen: leave it out by exclude."
            )


def warn_of_units(rct: UpliftData, obs: UpliftData) -> None:
    """Hold the outcomes of observational rows against those of randomised ones.

    Under the same treatments, sizes that differ on average by more than five times, and by more
    than chance (five standard errors of as many rows), are seldom the work of selection.

    Args:
        rct: randomised rows.
        obs: observational rows.

    Warns:
        DataWarning: names the outcome and both means.
    """
    share = obs.arm_counts.double() / len(obs)
    for name in ("revenue", "cost"):
        sizes = [getattr(part, name).double().abs() for part in (rct, obs)]
        total = share.new_zeros(rct.treatments).index_add_(0, rct.treatment, sizes[0])
        seen, logged = float(total / rct.arm_counts @ share), float(sizes[1].mean())
        chance = float(torch.cat(sizes).std()) / min(len(rct), len(obs)) ** 0.5
        apart = abs(seen - logged) > _CHANCE * chance
        if apart and max(seen, logged) > _UNITS * min(seen, logged):
            _warn(
                f"the {name} of observational rows is {logged:.4g} in size on average, that of "
                f"randomised rows under the same treatments {seen:.4g}: if one of them is in "
                "another unit, convert it, since models take both for one."
            )


def _warn(text: str) -> None:
    warnings.warn(text, DataWarning, stacklevel=5)


def _counts_rows(table: Frame, name: str) -> bool:
    from pyarrow import compute

    column = table.column(name)
    if column.kind != "number" or len(table) < 2 * _LEAST:
        return False
    if column.is_exact:
        return bool(compute.count_distinct(column.values).as_py() == len(table))
    values = column.numbers()
    return bool((values == np.floor(values)).all()) and len(np.unique(values)) == len(values)


def _moved(data: UpliftData) -> list[str]:
    """Return the features that differ between the arms."""
    features, treatment = data.features, data.treatment
    if data.groups is not None:
        features, treatment = _by_group(features.double(), treatment, data.groups)
    drawn = torch.randperm(len(treatment), generator=stream(0, "suspects"))[:_COMPARED]
    features, treatment = features[drawn].double(), treatment[drawn]
    arms = torch.bincount(treatment, minlength=data.treatments).double()
    limit = _ALARM / max(features.shape[1], 1)
    return [
        name
        for name, values in zip(data.feature_names, features.unbind(dim=1), strict=True)
        if _p_value(values, treatment, arms) < limit
    ]


def _by_group(features: Tensor, treatment: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Return means of groups, where a group was treated as one; else the rows as they are."""
    group, sizes = torch.unique(groups, return_inverse=True, return_counts=True)[1:]
    total = treatment.new_zeros(len(sizes)).index_add(0, group, treatment)
    mean = total / sizes
    if not bool((mean[group] == treatment).all()):
        return features, treatment
    sums = features.new_zeros(len(sizes), features.shape[1]).index_add(0, group, features)
    return sums / sizes[:, None], mean.long()


def _p_value(values: Tensor, treatment: Tensor, arms: Tensor) -> float:
    """Return the chance of ranks as unlike as these; 1 where there is too little to compare."""
    rows = len(values)
    _, place, ties = torch.unique(values, return_inverse=True, return_counts=True)
    ties = ties.double()
    if float((rows - ties.max()) * arms.min()) < _LEAST * rows:
        return 1.0
    rank = (ties.cumsum(0) - (ties - 1) / 2)[place]  # ties share their mean rank
    total = torch.zeros_like(arms).index_add(0, treatment, rank)
    spread = (rows**3 - rows - float((ties**3 - ties).sum())) / (12 * (rows - 1))
    gaps = (total / arms - (rows + 1) / 2).square() * arms
    statistic = gaps.sum() / spread
    return float(
        torch.special.gammaincc((torch.tensor(len(arms) - 1.0) / 2).double(), statistic / 2)
    )
