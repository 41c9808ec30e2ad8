"""`Columns`: a table of one's own, its columns named by the role they play."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, from_numpy

from dfl.data.encoder import FeatureEncoder
from dfl.data.sources.reading import amounts, column_names, find_file, group_ids, read_table
from dfl.data.sources.source import AbstractTable, LoadedData
from dfl.data.uplift_data import Source, UpliftData
from dfl.errors import DataError, InvalidValueError

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Columns"]

_SOURCES: tuple[Source, ...] = ("rct", "obs")


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Columns(AbstractTable):
    """A Parquet or CSV file of one's own.

    Args:
        treatment: column of the treatment received.
        revenue: column of the observed revenue, in currency.
        cost: column of the observed cost, in the same currency, >= 0; or the constant cost of
            each treatment, ``{"none": 0, "coupon": 0.5}``.
        features: columns known before treatment; None: every column without another role.
            Leave out whatever is measured after treatment, and identifiers.
        categorical: feature columns of whole numbers that are codes, not amounts.
        treatments: every treatment, in order, cheapest first; None: in the order of a
            constant ``cost``, or rising where treatments are numbers.
        propensity: columns of the chance of each treatment, in the order of ``treatments``.
        groups: column of the household, shop or cluster that must not be split.
        source: ``"rct"`` or ``"obs"`` for all rows, or the column that says it for each row.
    """

    treatment: str
    revenue: str
    cost: str | Mapping[str, float]
    features: tuple[str, ...] | None = None
    categorical: tuple[str, ...] = ()
    treatments: tuple[str, ...] | None = None
    propensity: tuple[str, ...] | None = None
    groups: str | None = None
    source: str = "rct"

    def load(self) -> LoadedData:
        """Read the file and give its columns their roles."""
        if self.path is None:
            raise DataError("a table of one's own needs a path; give the file.")
        file = find_file(self.path)
        features = self._features(column_names(file))
        table = read_table(file, columns=(*features, *self._roles()))
        encoder = FeatureEncoder.fit(table, features, categorical=self.categorical)
        names = self._order(table)
        parts = {
            source: self._uplift(table.iloc[rows], encoder, names, source)
            for source, rows in self._sources(table).items()
        }
        obs = parts.get("obs") if "rct" in parts else None
        data = parts["rct"] if "rct" in parts else parts["obs"]
        return LoadedData(data=data, obs=obs, encoder=encoder, recipe=self.recipe)

    def _roles(self) -> tuple[str, ...]:
        """Return the columns that are not features."""
        roles = [self.treatment, self.revenue, *(self.propensity or ())]
        if isinstance(self.cost, str):
            roles.append(self.cost)
        if self.groups is not None:
            roles.append(self.groups)
        if self.source not in _SOURCES:
            roles.append(self.source)
        return tuple(roles)

    def _features(self, known: tuple[str, ...]) -> tuple[str, ...]:
        roles = self._roles()
        if self.features is None:
            return tuple(name for name in known if name not in roles)
        twice = [name for name in self.features if name in roles]
        if twice:
            raise DataError(f"columns {twice} cannot be both features and something else.")
        return self.features

    def _order(self, table: "DataFrame") -> tuple[str, ...]:
        """Return the name of every treatment, in order."""
        present = table[self.treatment].drop_duplicates()
        if bool(present.isna().any()):
            raise InvalidValueError(f"column {self.treatment!r} must have no missing value.")
        if self.treatments is not None:
            names = tuple(str(name) for name in self.treatments)
        elif not isinstance(self.cost, str):
            price = _by_text(self.cost)
            names = tuple(sorted(price, key=price.__getitem__))
        elif present.dtype.kind in "biu":
            names = tuple(str(value) for value in sorted(present))
        else:
            raise DataError(
                f"treatments must be given in order, cheapest first: column {self.treatment!r} "
                f"holds {sorted(map(str, present))}, which have no order of their own."
            )
        unknown = sorted(set(present.astype(str)) - set(names))
        if unknown:
            raise DataError(
                f"column {self.treatment!r} holds {unknown}, which are not among the treatments "
                f"{list(names)}."
            )
        return names

    def _sources(self, table: "DataFrame") -> dict[Source, NDArray[np.intp]]:
        """Return the row numbers of each source."""
        marks: NDArray[np.str_] = np.full(len(table), self.source)
        if self.source not in _SOURCES:
            marks = table[self.source].astype(str).to_numpy(dtype=np.str_)
        unknown = sorted(set(np.unique(marks).tolist()) - set(_SOURCES))
        if unknown:
            raise DataError(f"column {self.source!r} must hold 'rct' or 'obs', got {unknown}.")
        rows = {source: np.flatnonzero(marks == source) for source in _SOURCES}
        return {source: found for source, found in rows.items() if len(found)}

    def _uplift(
        self,
        table: "DataFrame",
        encoder: FeatureEncoder,
        names: tuple[str, ...],
        source: Source,
    ) -> UpliftData:
        index = {name: place for place, name in enumerate(names)}
        places = table[self.treatment].astype(str).map(index)
        treatment = np.array(places, dtype=np.int64)
        return UpliftData(
            features=encoder.encode(table),
            treatment=from_numpy(treatment),
            revenue=from_numpy(amounts(table, self.revenue)),
            cost=self._cost(table, treatment, names),
            treatments=len(names),
            source=source,
            propensity=self._propensity(table),
            groups=None if self.groups is None else group_ids(table, self.groups),
            feature_names=encoder.feature_names,
            treatment_names=names,
        )

    def _cost(
        self, table: "DataFrame", treatment: NDArray[np.int64], names: tuple[str, ...]
    ) -> Tensor:
        if isinstance(self.cost, str):
            return from_numpy(amounts(table, self.cost))
        price = _by_text(self.cost)
        missing = [name for name in names if name not in price]
        if missing:
            raise DataError(f"cost must name every treatment, got none for {missing}.")
        return torch.tensor([price[name] for name in names])[treatment]

    def _propensity(self, table: "DataFrame") -> Tensor | None:
        if self.propensity is None:
            return None
        return from_numpy(np.stack([amounts(table, name) for name in self.propensity], axis=1))


def _by_text(cost: Mapping[str, float]) -> dict[str, float]:
    """Name treatments by text: YAML reads the keys of ``{0: 0, 10: 0.5}`` as numbers."""
    return {str(name): float(price) for name, price in cost.items()}
