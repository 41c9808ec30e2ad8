"""`PlanTable`: the rows that are planned for, and what columns and options wish for them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.checks import check_number
from dfl.data.sources.reading import column_names, find_file, read_frame, read_twofold
from dfl.errors import ConfigError, DataError, InfeasibleProblemError
from dfl.frames import Frame
from dfl.pipeline.customers import check_columns
from dfl.pipeline.limits import Limit, shortfall
from dfl.pipeline.scoring import AbstractScores
from dfl.pipeline.wishes import Wishes
from dfl.problem import rounding

__all__ = ["Asked", "PlanTable"]

_MONEY = "budget"  # the column of a table of limits that holds money


@final
@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of a plan, in names of columns and treatments.

    Args:
        budget: money for everyone, or None.
        target_revenue: as `Wishes`, as the next four.
        marginal_return: see there.
        min_return: see there.
        switching_cost: see there.
        max_changes: see there.
        by: column whose groups have limits of their own.
        limits: table of them: a column named as ``by``, ``budget`` with money, and a column per
            treatment with the most people on it; an empty cell or ``inf`` is no limit. Columns
            ``at least NAME``, of treatments and of ``budget``, hold the least people and money.
        shared: treatments to the money that they may cost together, such as a channel's.
        capacity: treatment, or several, to the most people on it or on all of them.
        at_least: treatment to the least people on it.
        only_if: treatment to the column that says, by 1 or true, who may get it.
        freeze: column of treatments that are decided; empty where they are not.
        last: column of the treatments of last time; empty where there was none.
    """

    budget: Budget | None = None
    target_revenue: float | None = None
    marginal_return: float | None = None
    min_return: float | None = None
    switching_cost: float = 0.0
    max_changes: int | None = None
    by: str | None = None
    limits: Path | str | None = None
    shared: Sequence[str] = ()
    capacity: Sequence[str] = ()
    at_least: Sequence[str] = ()
    only_if: Sequence[str] = ()
    freeze: str | None = None
    last: str | None = None

    def __post_init__(self) -> None:
        """Check that column and table of limits come together."""
        if (self.by is None) != (self.limits is None):
            raise ConfigError(
                "limits by group need a column and a table: give both --by and --limits."
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of words that are read."""
        named = (self.by, self.freeze, self.last)
        return tuple(dict.fromkeys(name for name in named if name is not None))

    @property
    def apart(self) -> bool:
        """Whether nothing holds the groups of ``by`` together."""
        together = (self.budget, self.target_revenue, self.min_return, self.max_changes)
        held = self.shared or self.capacity or self.at_least
        return self.by is not None and not (held or any(one is not None for one in together))


@final
@dataclass(frozen=True, eq=False)
class PlanTable:
    """The rows, and what their columns say.

    Args:
        path: of the file.
        frame: the columns that are numbers or features.
        words: the columns of words and those to carry over, of a CSV file the text that they are.
        names: of the treatments.
        groups: labels of the groups of ``by``; none without it.
        rows: the places of each group's rows, rising.
    """

    path: Path
    frame: Frame
    words: Frame
    names: tuple[str, ...]
    groups: tuple[str, ...]
    rows: tuple[Tensor, ...]

    @staticmethod
    def read(path: Path, scores: AbstractScores, asked: Asked, keep: Sequence[str]) -> "PlanTable":
        """Read the columns that are needed.

        Args:
            path: of the file.
            scores: revenue and cost of each row.
            asked: of the plan.
            keep: columns to carry over.

        Raises:
            ConfigError: if an option names no treatment.
            DataError: if the file is unreadable or lacks a column, or a row is in no group.
        """
        masks = [column for _, column in _masks(asked.only_if, scores.names)]
        numbers = tuple(dict.fromkeys((*scores.columns, *masks)))
        named = tuple(dict.fromkeys((*asked.columns, *keep)))
        check_columns(path, column_names(path), numbers, named)
        frame, words = read_twofold(path, numbers, named, text=scores.text)
        if asked.by is None:
            return PlanTable(path, frame, words, scores.names, (), ())
        factor = words.column(asked.by).factor()
        if (factor.codes < 0).any():
            raise DataError(
                f"column {asked.by!r} must name a group in every row, got none in row "
                f"{int((factor.codes < 0).argmax())}."
            )
        group = torch.from_numpy(factor.codes)
        counts = group.bincount(minlength=len(factor.labels)).tolist()
        rows = torch.split(group.argsort(stable=True), counts)
        return PlanTable(path, frame, words, scores.names, factor.labels, rows)

    def wishes(self, asked: Asked, cost: Tensor) -> Wishes:
        """Turn names and columns into numbers.

        Where groups stand apart, the use of a group's limit is that of its own rows alone: over
        all rows, the limits of all groups would hold rows times groups.

        Args:
            asked: of the plan.
            cost: of each row under each treatment.

        Raises:
            DflError: if names and amounts are not what they must be, see `plan_file`.
        """
        limits = [*self._limits_by_group(asked, cost), *self._shared(asked, cost)]
        return Wishes(
            budget=None if asked.budget is None else asked.budget.total_of(cost),
            target_revenue=asked.target_revenue,
            marginal_return=asked.marginal_return,
            min_return=asked.min_return,
            limits=tuple(limits),
            capacity=self._people("capacity", self._parted(asked)[0], torch.inf),
            at_least=self._people("at-least", asked.at_least, 0.0),
            allowed=self._allowed(asked),
            pinned=self._treatments(asked.freeze),
            last=self._treatments(asked.last),
            switching_cost=asked.switching_cost,
            max_changes=asked.max_changes,
            names=self.names,
        )

    def _treatments(self, column: str | None) -> Tensor | None:
        """Return the treatments that a column names, -1 where it is empty."""
        if column is None:
            return None
        factor = self.words.column(column).factor()
        labels = [label for label in factor.labels if label.strip()]
        unknown = [label for label in labels if label not in self.names]
        if unknown:
            raise DataError(
                f"column {column!r} must name treatments, {', '.join(self.names)}, or be empty; "
                f"got {unknown[0]!r}."
            )
        return torch.from_numpy(factor.places_in(self.names))

    def _allowed(self, asked: Asked) -> Tensor | None:
        if not asked.only_if:
            return None
        allowed = torch.ones(len(self.frame), len(self.names), dtype=torch.bool)
        for place, column in _masks(asked.only_if, self.names):
            found = self.frame.column(column).numbers()
            if not np.isin(found, (0, 1)).all():
                raise DataError(
                    f"column {column!r} must say by 0 and 1, or by false and true, who may get "
                    f"{self.names[place]}, got {found[~np.isin(found, (0, 1))][0]:g}."
                )
            allowed[:, place] &= torch.from_numpy(found == 1)
        return allowed

    def _people(self, option: str, given: Sequence[str], usual: float) -> Tensor | None:
        """Return the number of people on each treatment that an option gives, or else a usual one.

        Args:
            option: by its name.
            given: its values, each of one treatment.
            usual: number where nothing is given.

        Raises:
            ConfigError: if a value names no treatment, or one twice, or no number of people.
        """
        if not given:
            return None
        people = torch.full((len(self.names),), usual, dtype=torch.float64)
        seen = set()
        for text in given:
            named, amount = _amount(option, text)
            place = _place(option, named, self.names)
            if place in seen:
                raise ConfigError(f"{option} {named} is given twice; leave one out.")
            seen.add(place)
            people[place] = amount
        return people

    def _parted(self, asked: Asked) -> tuple[list[str], list[str]]:
        """Return the capacities of single treatments, and those of several together."""
        single: list[str] = []
        several: list[str] = []
        for text in asked.capacity:
            named = text.rpartition("=")[0]
            (several if named not in self.names and "+" in named else single).append(text)
        return single, several

    def _shared(self, asked: Asked, cost: Tensor) -> list[Limit]:
        """Return the money that several treatments may cost together, and the people on them."""
        found = []
        for text in asked.shared:
            named, amount = _amount("budget-of", text)
            use = self._of(cost, "budget-of", named)
            found.append(Limit(f"money for {named}", use, amount, money=True))
        for text in self._parted(asked)[1]:
            named, amount = _amount("capacity", text)
            use = self._of(torch.ones_like(cost), "capacity", named)
            found.append(Limit(f"people on {named}", use, amount))
        return found

    def _of(self, amount: Tensor, option: str, named: str) -> Tensor:
        """Return an amount ``(N, M)`` under the treatments that are named, 0 under others."""
        whole = [named] if named in self.names else named.split("+")
        places = [_place(option, one, self.names) for one in whole]
        use = torch.zeros_like(amount)
        use[:, places] = amount[:, places]
        return use

    def _limits_by_group(self, asked: Asked, cost: Tensor) -> list[Limit]:
        """Return the limits of a table; one that is empty is none."""
        if asked.limits is None or asked.by is None:
            return []
        path = find_file(asked.limits)
        table = read_frame(path, text=[asked.by])
        table.require([asked.by])
        floors = {f"at least {name}": name for name in (_MONEY, *self.names)}
        known = (asked.by, _MONEY, *self.names, *floors)
        if twice := [name for name in known if known.count(name) > 1]:
            raise ConfigError(
                f"limits by group tell groups ({asked.by}), money ({_MONEY}) and treatments apart "
                f"by name, got {twice[0]!r} for two of them; rename that column or treatment."
            )
        unknown = [name for name in table.table.columns if name not in known]
        if unknown:
            raise DataError(
                f"{path} must have the columns {asked.by}, {_MONEY} and names of treatments "
                f"({', '.join(self.names)}), or 'at least' and such a name, got {unknown[0]!r}."
            )
        labels = table.column(asked.by).factor()
        if len(labels.labels) < len(table) or (labels.codes < 0).any():
            raise DataError(f"{path} must name every group of {asked.by!r} once.")
        place = labels.places_in(self.groups)
        row = {int(group): k for k, group in enumerate(place) if group >= 0}
        lacking = [label for group, label in enumerate(self.groups) if group not in row]
        if lacking:
            raise DataError(
                f"{path} must have a row for every group of {asked.by!r}, it lacks {lacking[0]!r}."
            )
        found = []
        for name in [one for one in known[1:] if one in table.table.columns]:
            amounts = table.column(name).numbers()
            for group, label in enumerate(self.groups):
                amount = float(amounts[row[group]])
                if math.isnan(amount):  # an empty cell is no limit
                    continue
                where, floor = f"{name} of {label} in {path}", name in floors
                check_number(where, amount, at_least=0, finite=floor)
                if math.isfinite(amount):
                    use = self._use(floors.get(name, name), cost[self.rows[group]])
                    if floor:
                        use, amount = _short_of_most(where, use, amount)
                    if not asked.apart:
                        use = torch.zeros_like(cost).index_copy_(0, self.rows[group], use)
                    money = name == _MONEY
                    said = f"money of {label}" if money else f"{name} in {label}"
                    said = f"short of the most, {said}" if floor else said
                    found.append(Limit(said, use, amount, money=money, group=group))
        return found

    def _use(self, name: str, cost: Tensor) -> Tensor:
        """Return what rows use of a column of the table of limits: their money or their places."""
        if name == _MONEY:
            return cost
        use = torch.zeros_like(cost)
        use[:, self.names.index(name)] = 1
        return use


def _short_of_most(where: str, use: Tensor, least: float) -> tuple[Tensor, float]:
    """Return a least use as a limit: how far each treatment stays below the person's most use.

    Args:
        where: the amount stands, for errors.
        use: of each person under each treatment. Shape ``(n, M)``.
        least: of all of them together.

    Raises:
        InfeasibleProblemError: if all of them together cannot use so much.
    """
    short, total = shortfall(use, None)
    if least > total + rounding(total, len(use)) * total:
        raise InfeasibleProblemError(
            f"{where} must be at most {total:g}, the most that its people can come to, got "
            f"{least:g}; lower it."
        )
    return short, max(total - least, 0.0)


def _masks(only_if: Sequence[str], names: Sequence[str]) -> list[tuple[int, str]]:
    """Return treatment and column of ``TREATMENT=COLUMN``."""
    found = []
    for text in only_if:
        fits = [name for name in names if text.startswith(f"{name}=")]
        if not fits:
            raise ConfigError(
                f"only-if must be TREATMENT=COLUMN with one of {', '.join(names)}, got {text!r}."
            )
        name = max(fits, key=len)
        found.append((names.index(name), text[len(name) + 1 :]))
    return found


def _amount(option: str, text: str) -> tuple[str, float]:
    """Return name and amount of ``NAME=AMOUNT``."""
    name, equals, amount = text.rpartition("=")
    try:
        found = float(amount)
    except ValueError:
        equals = ""
    if not equals:
        raise ConfigError(f"{option} must be NAME=AMOUNT, got {text!r}.")
    check_number(f"{option} {name}", found, at_least=0)
    return name, found


def _place(option: str, name: str, names: Sequence[str]) -> int:
    if name not in names:
        raise ConfigError(f"{option} must name one of {', '.join(names)}, got {name!r}.")
    return list(names).index(name)
