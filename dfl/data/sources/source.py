"""`AbstractDataSource`: whatever gives rows for a seed; tables in files, and in memory."""

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from dfl.data.encoder import FeatureEncoder
from dfl.data.encoding.base import DataWarning
from dfl.data.encoding.numbers import NumberColumn
from dfl.data.encoding.target import TargetColumn
from dfl.data.hybrid import Held, HybridData, HybridRecipe, pair_hybrid, to_hybrid
from dfl.data.sources.card import DataCard
from dfl.data.sources.observational import observational_hybrid
from dfl.data.uplift_data import UpliftData
from dfl.errors import InvalidValueError

__all__ = ["AbstractDataSource", "AbstractTable", "LoadedData"]


class AbstractDataSource(ABC):
    """A data file, rows in memory, or a simulator."""

    @abstractmethod
    def hybrid(self, seed: int) -> HybridData:
        """Return randomised and observational rows, split for training and testing.

        Args:
            seed: the same seed gives the same rows.

        Raises:
            DataNotFoundError: if a file is not there.
            DataError: if a file cannot be read, is not what it claims to be, or holds no
                randomised rows.
            InvalidValueError: if a part comes out without one of the treatments.
        """


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class LoadedData(AbstractDataSource):
    """Rows of a file, split anew for every seed without reading the file again.

    Args:
        data: the rows; the randomised ones, where there are both kinds.
        obs: the observational rows where there are both kinds, else None.
        validation: rows of a file of their own, or None to split them off.
        test: likewise.
        encoder: turns further tables into the same features.
        card: the published data set, or None for a table of one's own.
        recipe: how `hybrid` splits.
        left_out: rows and columns of the source that are not used, and why, in words.
    """

    data: UpliftData
    encoder: FeatureEncoder
    obs: UpliftData | None = None
    validation: UpliftData | None = None
    test: UpliftData | None = None
    card: DataCard | None = None
    recipe: HybridRecipe = field(default_factory=HybridRecipe)
    left_out: tuple[tuple[str, str], ...] = ()

    def hybrid(self, seed: int) -> HybridData:
        """Split by the recipe; parts that are there already are kept whole.

        Observational rows are made from randomised ones where there are none and the recipe
        says so. What columns learn, the revenue of `TargetColumn` and the mean that stands for a
        missing number, they learn from the training rows of this split.

        Raises:
            DataError: as `AbstractDataSource.hybrid`.
            InvalidValueError: likewise; or if no training row knows a number that may be missing.

        Warns:
            DataWarning: if validation or test rows are observational, or of groups that train.
        """
        held = Held(self.validation, self.test)
        if self.data.source == "obs":
            parts = observational_hybrid(self.data, seed=seed, recipe=self.recipe, held=held)
        elif self.obs is None and self.recipe.make_obs:
            parts = to_hybrid(
                self.data, seed=seed, recipe=self.recipe, held=held, encoder=self.encoder
            )
        else:
            parts = pair_hybrid(self.data, self.obs, seed=seed, recipe=self.recipe, held=held)
        _warn_of_shared_groups(parts)
        left_out = (*self.left_out, *self._lost(parts))
        parts = replace(parts, card=self.card, left_out=left_out)
        encoder = parts.encoder or self.encoder
        return _learn_targets(*_fill_gaps(parts, encoder), seed=seed)

    def _lost(self, parts: HybridData) -> list[tuple[str, str]]:
        """Say how many rows the recipe has left in none of the parts."""
        whole = (self.data, self.obs, self.validation, self.test)
        total = sum(len(one) for one in whole if one is not None)
        lost = total - sum(parts.rows.values())
        if not lost:
            return []
        why = "no part of the recipe takes them"
        if self.data.source == "rct" and parts.obs is not None and self.obs is None:
            why = (
                "logs were made from the experiment: these rows trained the policy of the logs, "
                "or received another treatment than it chooses"
            )
        return [(f"{lost:,} of {total:,} rows", f"{why} (data.recipe)")]


def _warn_of_shared_groups(hybrid: HybridData) -> None:
    """Warn where rows that choose and report are of groups that train; splits make none.

    Rows of several files, or of both sources, are parts already, whoever they are of.
    """

    def people(*names: str) -> Tensor:
        parts = [getattr(hybrid, name) for name in names]
        known = [one.groups for one in parts if one is not None and one.groups is not None]
        found: Tensor = torch.unique(torch.cat([torch.empty(0, dtype=torch.int64), *known]))
        return found

    training = people("rct", "obs")
    for name in ("validation", "test"):
        held = people(name)
        shared = int(torch.isin(held, training).sum())
        if shared:
            warnings.warn(
                f"{shared:,} of {len(held):,} groups of {name} rows have training rows, too: "
                "models have seen these people, and look better there than they are. Leave such "
                "groups out of one side.",
                DataWarning,
                stacklevel=3,
            )


def _fill_gaps(hybrid: HybridData, encoder: FeatureEncoder) -> tuple[HybridData, FeatureEncoder]:
    """Put the mean of the training rows where a number is missing, in all parts.

    Raises:
        InvalidValueError: if no training row knows one.
    """
    columns, gaps, place = [*encoder.columns], {}, 0
    training = [part.features for part in (hybrid.rct, hybrid.obs) if part is not None]
    for index, column in enumerate(encoder.columns):
        if isinstance(column, NumberColumn) and column.marks:
            known = [one[one[:, place + 1] == 0, place].double() for one in training]
            count = sum(map(len, known))
            if not count:
                raise InvalidValueError(
                    f"column {column.name!r} has no value in any of the {sum(map(len, training))} "
                    "training rows; leave it out, or give more rows to train."
                )
            gaps[place] = float(sum(one.sum() for one in known)) / count
            columns[index] = replace(column, fill=gaps[place])
        place += len(column.feature_names)
    if not gaps:
        return hybrid, encoder

    def filled(part: UpliftData | None) -> Any:
        if part is None:
            return None
        features = part.features.clone()
        for place, fill in gaps.items():
            features[part.features[:, place + 1] == 1, place] = fill
        return replace(part, features=features)

    parts = {name: filled(getattr(hybrid, name)) for name in ("rct", "obs", "validation", "test")}
    return replace(hybrid, **parts), FeatureEncoder(tuple(columns))


def _learn_targets(hybrid: HybridData, encoder: FeatureEncoder, *, seed: int) -> HybridData:
    """Let each `TargetColumn` learn from the training parts of a split."""
    columns, place = [*encoder.columns], 0
    for index, column in enumerate(encoder.columns):
        if isinstance(column, TargetColumn):
            trained = {"rct": hybrid.rct, "obs": hybrid.obs}
            training = {name: part for name, part in trained.items() if part is not None}
            fitted, parts = column.learn(
                [*training.values()], [hybrid.validation, hybrid.test], place, seed=seed
            )
            columns[index] = fitted
            found: dict[str, Any] = dict(zip((*training, "validation", "test"), parts, strict=True))
            hybrid = replace(hybrid, **found)
        place += len(column.feature_names)
    learned = any(isinstance(column, TargetColumn) for column in columns)
    return replace(hybrid, encoder=FeatureEncoder(tuple(columns)) if learned else encoder)


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractTable(AbstractDataSource):
    """Rows in a Parquet or CSV file.

    Args:
        path: the file, absolute or inside the folder ``DFL_DATA``; for a published data set
            None looks for its usual names there.
        recipe: how `hybrid` splits the rows.
    """

    path: Path | str | None = None
    recipe: HybridRecipe = field(default_factory=HybridRecipe)

    @abstractmethod
    def load(self) -> LoadedData:
        """Read the file, check it, and give its columns their roles.

        Raises:
            DataNotFoundError: if the file is not there; says where to get it.
            DataError: if the file cannot be read, or is not what it claims to be.
            InvalidValueError: if a value is missing or out of its range.
        """

    def hybrid(self, seed: int) -> HybridData:
        """Read and split. To split for many seeds, call `load` once and split that."""
        return self.load().hybrid(seed)
