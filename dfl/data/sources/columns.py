"""`Columns`: a table of one's own, its columns named by the role they play."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, from_numpy

from dfl.checks import check_choice, check_several
from dfl.data.encoder import Encoding, FeatureEncoder
from dfl.data.sources.reading import amounts, column_names, find_file, group_ids, read_frame
from dfl.data.sources.source import AbstractTable, LoadedData
from dfl.data.sources.suspects import warn_of_suspects, warn_of_units
from dfl.data.uplift_data import Source, UpliftData
from dfl.errors import DataError, InvalidValueError
from dfl.frames import Frame, label_text

__all__ = ["Columns"]

_SOURCES: tuple[Source, ...] = ("rct", "obs")
_PARTS = ("obs", "validation", "test")
_OWN_PRICE = " Where a treatment costs its own number, say so: cost={0: 0, 5: 5}."


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Columns(AbstractTable):
    """A table of one's own: a Parquet or CSV file, or a frame in memory.

    Args:
        treatment: column of the treatment received.
        revenue: column of the observed revenue, in currency.
        cost: column of the observed cost, in the same currency, >= 0; or the constant cost of
            each treatment, ``{"none": 0, "coupon": 0.5}``.
        features: columns known before treatment; None: every column without another role.
            Leave out whatever is measured after treatment, and identifiers.
        exclude: columns that are no features where ``features`` is None.
        treatments: every treatment, in order, cheapest first; None: in the order of a
            constant ``cost``, or rising where treatments are numbers.
        propensity: columns of the chance of each treatment, in the order of ``treatments``.
        groups: column of the household, shop or cluster that must not be split.
        source: ``"rct"`` or ``"obs"`` for all rows, or the column that says it for each row.
        obs: file of observational rows, beside randomised ones in ``path``.
        validation: file of randomised rows that choose between models.
        test: file of randomised rows that report. What is not given is split off ``path``.
        categorical: as in `Encoding`, like the five options below.
        dates: columns of dates.
        hashed: columns of many categories, hashed.
        target: columns of many categories, replaced by revenue.
        missing: ``"refuse"`` or ``"impute"`` missing features.
        unknown: ``"refuse"``, or take new categories as ``"other"``.

    Raises:
        InvalidValueError: if features, exclude, treatments or propensity are a text alone, or a
            column has two roles.

    Warns:
        DataWarning: of a feature that numbers the rows, or that the treatment moves.
    """

    treatment: str
    revenue: str
    cost: str | Mapping[str, float]
    features: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    treatments: tuple[str, ...] | None = None
    propensity: tuple[str, ...] | None = None
    groups: str | None = None
    source: str = "rct"
    obs: Path | str | None = None
    validation: Path | str | None = None
    test: Path | str | None = None
    categorical: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    hashed: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    missing: Literal["refuse", "impute"] = "refuse"
    unknown: Literal["refuse", "other"] = "refuse"

    def __post_init__(self) -> None:
        """Check that several names are no text, whose letters are none, and that roles differ."""
        for name in ("features", "exclude", "treatments", "propensity"):
            if getattr(self, name) is not None:
                check_several(name, getattr(self, name))
        taken = [("propensity", column) for column in self.propensity or ()]
        for role, column in self._single():
            others = [other for other, one in taken if one == column]
            if others:
                hint = _OWN_PRICE if (others[0], role) == ("treatment", "cost") else ""
                raise InvalidValueError(
                    f"{role} must be a column of its own, got {column!r}, which is {others[0]}, "
                    f"too.{hint}"
                )
            taken.append((role, column))

    def load(self) -> LoadedData:
        """Read the files and give their columns their roles."""
        if self.path is None:
            raise DataError("a table of one's own needs a path; give the file.")
        return self.of(self.path)

    def of(self, table: object, **parts: object) -> LoadedData:
        """Give the columns of a table their roles.

        Args:
            table: any frame that narwhals reads (pandas, polars, Arrow and others), or a file.
            **parts: frames or files that stand for ``obs``, ``validation`` and ``test``.

        Raises:
            DataNotFoundError: if a file is not there.
            DataError: if a table is neither, has no row, lacks columns, or a column does not
                suit its role.
            InvalidValueError: if a value is missing or out of its range, or there is no such part.
        """
        for part in parts:
            check_choice("a part of the table", part, _PARTS)
        own = {"path": table, "obs": self.obs, "validation": self.validation, "test": self.test}
        given = {part: one for part, one in {**own, **parts}.items() if one is not None}
        _check_apart(given)
        known = _names(given["path"])
        features = self._features(known)
        loaded = self._loaded(self._frames(given, features), features)
        unused = [name for name in known if name not in (*features, *self._roles())]
        if not unused:
            return loaded
        option = "exclude" if self.features is None else "features"
        columns = (f"columns {', '.join(unused)}", f"no features (data.{option})")
        return replace(loaded, left_out=(columns,))

    def _frames(
        self, given: Mapping[str, object], features: tuple[str, ...]
    ) -> Mapping[str, Frame]:
        """Open the tables; what one of the training tables has as text is text in every file.

        So are groups that any of the tables has as text.
        """
        frames = {part: _opened(one, self._wanted(part, features)) for part, one in given.items()}
        if len(frames) == 1:
            return frames
        held = {
            part: {name for name in (*features, self.treatment) if frame.column(name).holds_words}
            for part, frame in frames.items()
        }
        text = held["path"] | held.get("obs", set())
        if self.groups is not None:
            spelt = [part for part, frame in frames.items() if frame.column(self.groups).is_text]
            held |= {part: {*held[part], self.groups} for part in spelt}
            text |= {self.groups} if spelt else set()
        for part, one in given.items():
            if isinstance(one, str | Path) and text - held[part]:
                frames[part] = _opened(one, self._wanted(part, features), text=[*text])
        return frames

    def _loaded(self, frames: Mapping[str, Frame], features: tuple[str, ...]) -> LoadedData:
        training = Frame.concat(
            frames[part].select((*features, self.treatment))
            for part in ("path", "obs")
            if part in frames
        )
        encoder = FeatureEncoder.fit(training, features, self._encoding(features))
        names = self._order(training)
        groups = self._groups(frames)
        parts: dict[str, UpliftData] = {}
        for part, frame in frames.items():
            columns = self._tensors(frame, encoder, names) | {"groups": groups.get(part)}
            for name, rows in self._rows(part, frame).items():
                if name in parts:
                    raise DataError("obs rows must stand in the table or in a file, not in both.")
                own: dict[str, Any] = {
                    key: None if one is None else one[rows] for key, one in columns.items()
                }
                missing = [names[arm] for arm in range(len(names)) if arm not in own["treatment"]]
                if missing:
                    raise InvalidValueError(
                        f"every treatment must occur among the {name} rows, got no row with "
                        f"{missing}; leave it out, or take a larger or stratified sample."
                    )
                parts[name] = UpliftData(
                    **own,
                    treatments=len(names),
                    source="obs" if name == "obs" else "rct",
                    feature_names=encoder.feature_names,
                    treatment_names=names,
                )
        if "rct" in parts:
            warn_of_suspects(frames["path"], features, parts["rct"])
            if "obs" in parts:
                warn_of_units(parts["rct"], parts["obs"])
        return LoadedData(
            data=parts["rct"] if "rct" in parts else parts["obs"],
            obs=parts.get("obs") if "rct" in parts else None,
            validation=parts.get("validation"),
            test=parts.get("test"),
            encoder=encoder,
            recipe=self.recipe,
        )

    def _roles(self) -> tuple[str, ...]:
        """Return the columns that are not features."""
        return (*(self.propensity or ()), *(column for _, column in self._single()))

    def _single(self) -> list[tuple[str, str]]:
        """Return the roles that one column each has, and that column."""
        cost = self.cost if isinstance(self.cost, str) else None
        roles = {"treatment": self.treatment, "revenue": self.revenue, "cost": cost}
        others = {"groups": self.groups, "source": self._marks}
        return [(role, one) for role, one in {**roles, **others}.items() if one is not None]

    @property
    def _marks(self) -> str | None:
        """Column that says where each row comes from."""
        return None if self.source in _SOURCES else self.source

    def _wanted(self, part: str, features: tuple[str, ...]) -> tuple[str, ...]:
        """Return the columns of one file; only the first says where each row comes from."""
        marks = None if part == "path" else self._marks
        return tuple(name for name in (*features, *self._roles()) if name != marks)

    def _features(self, known: tuple[str, ...]) -> tuple[str, ...]:
        roles = self._roles()
        left_out = [name for name in self.exclude if name not in known]
        if left_out:
            raise DataError(f"exclude names the columns {left_out}, there are {list(known)}.")
        if self.features is None:
            return tuple(name for name in known if name not in (*roles, *self.exclude))
        twice = [name for name in self.features if name in (*roles, *self.exclude)]
        if twice:
            raise DataError(f"columns {twice} cannot be both features and something else.")
        _check_unique("features", self.features)
        return self.features

    def _encoding(self, features: tuple[str, ...]) -> Encoding:
        encoding = Encoding(**{f.name: getattr(self, f.name) for f in fields(Encoding)})
        stray = [name for name in encoding.named if name not in features]
        if stray:
            raise DataError(f"columns {stray} are encoded in a way of their own, but no features.")
        return encoding

    def _order(self, table: Frame) -> tuple[str, ...]:
        """Return the name of every treatment, in order."""
        present = table.column(self.treatment).known_factor()
        if self.treatments is not None:
            names = tuple(label_text(name) or "" for name in self.treatments)
        elif not isinstance(self.cost, str):
            price = _by_text(self.cost)
            names = tuple(sorted(price, key=price.__getitem__))
        elif present.numeric:
            names = present.labels
        else:
            raise DataError(
                f"treatments must be given in order, cheapest first: column {self.treatment!r} "
                f"holds {list(present.labels)}, which have no order of their own."
            )
        _check_unique("treatments", names)
        return names

    def _rows(self, part: str, table: Frame) -> dict[str, NDArray[np.intp]]:
        """Return the row numbers of each source in one file."""
        everyone = np.arange(len(table))
        if part != "path":
            return {part: everyone}
        if self._marks is None:
            return {self.source: everyone}
        marks = table.column(self._marks).known_factor()
        unknown = [label for label in marks.labels if label not in _SOURCES]
        if unknown:
            raise DataError(f"column {self.source!r} must hold 'rct' or 'obs', got {unknown}.")
        places = marks.places_in(_SOURCES)
        found = {source: np.flatnonzero(places == index) for index, source in enumerate(_SOURCES)}
        return {source: rows for source, rows in found.items() if len(rows)}

    def _groups(self, frames: Mapping[str, Frame]) -> dict[str, Tensor]:
        """Return the group of each row of each table: the same one has the same number in all."""
        if self.groups is None:
            return {}
        columns = [frame.column(self.groups) for frame in frames.values()]
        return dict(zip(frames, group_ids(columns), strict=True))

    def _tensors(
        self, table: Frame, encoder: FeatureEncoder, names: tuple[str, ...]
    ) -> dict[str, Any]:
        """Return what an `UpliftData` holds of every row, but for its group."""
        received = table.column(self.treatment).known_factor()
        unknown = [label for label in received.labels if label not in names]
        if unknown:
            raise DataError(
                f"column {self.treatment!r} holds {unknown}, which are not among the treatments "
                f"{list(names)}."
            )
        treatment = from_numpy(received.places_in(names))
        chances = [
            amounts(table, name, role="propensity", at_least=0) for name in self.propensity or ()
        ]
        return {
            "features": encoder.encode(table),
            "treatment": treatment,
            "revenue": amounts(table, self.revenue, role="revenue"),
            "cost": self._cost(table, treatment, names),
            "propensity": torch.stack(chances, dim=1) if chances else None,
        }

    def _cost(self, table: Frame, treatment: Tensor, names: tuple[str, ...]) -> Tensor:
        if isinstance(self.cost, str):
            return amounts(table, self.cost, role="cost", at_least=0)
        price = _by_text(self.cost)
        missing = [name for name in names if name not in price]
        if missing:
            raise DataError(f"cost must name every treatment, got none for {missing}.")
        return torch.tensor([price[name] for name in names], dtype=torch.float32)[treatment]


def _by_text(cost: Mapping[str, float]) -> dict[str, float]:
    """Name treatments by text: YAML reads the keys of ``{0: 0, 10: 0.5}`` as numbers."""
    names = [label_text(name) or "" for name in cost]
    _check_unique("cost", names)
    try:
        return dict(zip(names, map(float, cost.values()), strict=True))
    except (TypeError, ValueError) as error:
        raise InvalidValueError(
            f"cost must give every treatment a number, got {list(cost.values())}."
        ) from error


def _check_unique(what: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{what} must be given once each, {twice} come more than once.")


def _check_apart(given: Mapping[str, object]) -> None:
    """Refuse rows that are two parts at once, and would be learned from and reported on."""
    first: dict[object, str] = {}
    for part, one in given.items():
        place = find_file(one).resolve() if isinstance(one, str | Path) else id(one)
        if place in first:
            raise InvalidValueError(
                f"{part} must hold rows of its own, got those of {first[place]}"
                f"{f', {one}' if isinstance(one, str | Path) else ''}; leave it out, or give other "
                "rows."
            )
        first[place] = "the table" if part == "path" else part


def _names(table: object) -> tuple[str, ...]:
    if isinstance(table, str | Path):
        return column_names(find_file(table))
    return Frame.of(table).names


def _opened(table: object, columns: Sequence[str], text: Sequence[str] = ()) -> Frame:
    """Return the wanted columns of a file, or a frame that has them."""
    if isinstance(table, str | Path):
        return read_frame(find_file(table), columns=columns, text=text)
    frame = Frame.of(table)
    frame.require(columns)
    if len(frame) == 0:
        raise DataError("a table must have at least one row, got none.")
    return frame
