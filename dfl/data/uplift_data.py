"""`UpliftData`: marketing logs as tensors, checked once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, final, get_args

import torch
from torch import Tensor

from dfl.checks import check_choice, check_count, check_tensor
from dfl.errors import DTypeError, InvalidValueError, ShapeError
from dfl.problem import ObservedCost
from dfl.scale import over_rows, rows_apart

__all__ = [
    "PotentialOutcomes",
    "Source",
    "UpliftData",
    "check_alike",
    "check_every_treatment",
    "check_names",
    "people_of",
]

Source = Literal["rct", "obs"]

_NEEDED = ("features", "treatment", "revenue", "cost")


@final
@dataclass(frozen=True, eq=False)
class PotentialOutcomes:
    """Expected revenue and cost of every person under every treatment; simulators know it.

    Args:
        revenue: expected revenue, in currency. Shape ``(N, M)``.
        cost: expected cost, in the same currency, >= 0. Shape ``(N, M)``.
    """

    revenue: Tensor
    cost: Tensor


@final
@dataclass(frozen=True, eq=False)
class UpliftData:
    """Logged rows: who was treated how, what they brought in and what they cost.

    Where each of several processes has rows of its own (`dfl.scale.joined`), one may have none,
    or none of some treatment; all of them together are looked at when a method is fitted.

    Args:
        features: what was known before treatment. Shape ``(N, F)``, float32 or float64.
        treatment: treatment received, int64 in ``0 .. treatments - 1``. Shape ``(N,)``.
        revenue: observed revenue, in currency, any sign. Shape ``(N,)``, dtype of features.
        cost: observed cost, in the same currency, >= 0. Shape ``(N,)``, dtype of features.
        treatments: number of treatments M; each must occur at least once.
        source: ``"rct"`` where treatment was drawn at random, ``"obs"`` where an old policy
            chose it.
        propensity: known probability of each treatment, or None. Shape ``(N, M)``, rows on
            the simplex. For randomised rows None means the shares of the arms.
        groups: id of the household, shop or cluster of each row, int64, or None. Rows of a
            group stay together in splits and in bootstrap draws. Shape ``(N,)``.
        truth: expected potential outcomes, where a simulator knows them, or None.
        feature_names: one name per feature, or empty.
        treatment_names: one name per treatment, or empty.

    Raises:
        ShapeError: if shapes or numbers of names do not fit.
        DTypeError: if a column is no tensor, or dtypes or devices do not fit.
        InvalidValueError: if a value is NaN or infinite, a cost is negative, a treatment is
            out of range or never seen, or a propensity row is not on the simplex.
    """

    features: Tensor
    treatment: Tensor
    revenue: Tensor
    cost: Tensor
    treatments: int
    source: Source
    propensity: Tensor | None = None
    groups: Tensor | None = None
    truth: PotentialOutcomes | None = None
    feature_names: tuple[str, ...] = ()
    treatment_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check everything that the class promises."""
        for name in ("features", "treatment", "revenue", "cost", "propensity", "groups"):
            column = getattr(self, name)
            if column is not None or name in _NEEDED:
                check_tensor(name, column)
        check_count("treatments", self.treatments, at_least=1)
        self._check_shapes()
        self._check_types()
        self._check_values()

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.features.shape[0]

    @property
    def arm_counts(self) -> Tensor:
        """Rows per treatment, int64, shape ``(M,)``."""
        return torch.bincount(self.treatment, minlength=self.treatments)

    @property
    def weight(self) -> Tensor:
        """Inverse propensity of the treatment received, shape ``(N,)``, no unit.

        From ``propensity`` where it is known, else ``N / N_t`` for randomised rows: of all
        processes where each has rows of its own, which then all must ask.

        Raises:
            InvalidValueError: for observational rows of unknown propensity.
        """
        if self.propensity is not None:
            return 1 / self.propensity.gather(1, self.treatment[:, None]).squeeze(1)
        if self.source == "obs":
            raise InvalidValueError(
                "inverse propensity weights need randomised rows or a known propensity; these "
                "rows are observational and carry none."
            )
        counts = over_rows(self.arm_counts)
        return (int(counts.sum()) / counts.to(self.features.dtype))[self.treatment]

    @property
    def observed_cost(self) -> ObservedCost:
        """The logged costs with their weights, as solvers and layers take them."""
        return ObservedCost(self.treatment, self.cost, self.weight)

    def subset(self, index: Tensor) -> "UpliftData":
        """Return the rows ``index`` (int64 positions or a bool mask), every column kept.

        Raises:
            InvalidValueError: if a treatment does not occur among them.
        """
        return self._each(lambda column: column[index])

    def joined(self, other: "UpliftData") -> "UpliftData":
        """Return these rows followed by others of the same source, features and treatments.

        Of randomised rows, where one of the two knows its propensities, those of the other are its
        shares of the arms; observational rows then have none. Where one has groups, each row of
        the other is a group of its own. Truth is kept where both have it.

        Raises:
            InvalidValueError: if the two are of unlike source, or name features or treatments
                otherwise.
            ShapeError: if they have unlike features or treatments.
            DTypeError: if they have unlike dtypes.
        """
        pair = (self, other)
        check_alike("rows that are joined", pair)
        check_names("rows that are joined", pair)
        if other.source != self.source:
            raise InvalidValueError(
                f"rows that are joined must be of one source, got {self.source!r} and "
                f"{other.source!r}; methods take them apart, as rct and obs."
            )

        def both(name: str) -> Tensor:
            return torch.cat([getattr(one, name) for one in pair])

        named = ("features", "treatment", "revenue", "cost")
        columns: dict[str, Any] = {name: both(name) for name in named}
        known = [one.propensity is not None for one in pair]
        if any(known):
            guessed = not all(known) and self.source == "obs"  # nobody knows how those were treated
            columns["propensity"] = None if guessed else torch.cat([one._chances for one in pair])
        if any(one.groups is not None for one in pair):
            columns["groups"] = people_of(pair).to(self.features.device)
        truths = [one.truth for one in pair if one.truth is not None]
        truth = None
        if len(truths) == len(pair):
            revenue, cost = (
                torch.cat([getattr(t, k) for t in truths]) for k in ("revenue", "cost")
            )
            truth = PotentialOutcomes(revenue, cost)
        return replace(self, **columns, truth=truth)

    @property
    def _chances(self) -> Tensor:
        """Propensity of each treatment; of randomised rows the shares, where it is not known."""
        if self.propensity is not None:
            return self.propensity
        shares = self.arm_counts.to(self.features) / len(self)
        return shares.expand(len(self), self.treatments)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "UpliftData":
        """Return the same rows on another device, amounts and features in another dtype."""
        kind = self.features.dtype if dtype is None else dtype

        return self._each(
            lambda column: column.to(device, kind if column.is_floating_point() else None)
        )

    def plain(self) -> "UpliftData":
        """Return the rows as numbers alone: no gradient leads back from them to what made them.

        Rows made under ``torch.inference_mode`` are copied: training could not go through them.
        """
        if not any(_odd(column) for column in self._columns()):
            return self
        return self._each(lambda one: one.clone() if one.is_inference() else one.detach())

    def _columns(self) -> list[Tensor]:
        held = [getattr(self, f.name) for f in fields(self)]
        return [one for one in (*held, *self._truth_columns().values()) if isinstance(one, Tensor)]

    def _each(self, change: Callable[[Tensor], Tensor]) -> "UpliftData":
        """Return the rows with every column changed in the same way."""

        def changed(value: Any) -> Any:
            if isinstance(value, PotentialOutcomes):
                return PotentialOutcomes(change(value.revenue), change(value.cost))
            return change(value) if isinstance(value, Tensor) else value

        return replace(self, **{f.name: changed(getattr(self, f.name)) for f in fields(self)})

    def _check_shapes(self) -> None:
        empty = self.features.shape[:1] == (0,) and not rows_apart()
        if self.features.ndim != 2 or empty:
            raise ShapeError(
                f"features must be (N, F) with N >= 1, got {tuple(self.features.shape)}."
            )
        rows, arms = len(self), self.treatments
        expected = {
            "treatment": (rows,),
            "revenue": (rows,),
            "cost": (rows,),
            "propensity": (rows, arms),
            "groups": (rows,),
        }
        for name, shape in expected.items():
            column = getattr(self, name)
            if column is not None and tuple(column.shape) != shape:
                raise ShapeError(f"{name} must be {shape}, got {tuple(column.shape)}.")
        for name, column in self._truth_columns().items():
            if tuple(column.shape) != (rows, arms):
                raise ShapeError(f"{name} must be {(rows, arms)}, got {tuple(column.shape)}.")
        for name, count in (("feature_names", self.features.shape[1]), ("treatment_names", arms)):
            names = getattr(self, name)
            if names and len(names) != count:
                raise ShapeError(f"{name} must be {count} or none, got {len(names)}.")

    def _check_types(self) -> None:
        kind = self.features.dtype
        if kind not in (torch.float32, torch.float64):
            raise DTypeError(f"features must be float32 or float64, got {kind}.")
        amounts = {"revenue": self.revenue, "cost": self.cost, **self._truth_columns()}
        if self.propensity is not None:
            amounts["propensity"] = self.propensity
        for name, column in amounts.items():
            if column.dtype != kind or column.device != self.features.device:
                raise DTypeError(
                    f"{name} must be {kind} on {self.features.device} as features are, "
                    f"got {column.dtype} on {column.device}."
                )
        for name in ("treatment", "groups"):
            column = getattr(self, name)
            if column is not None and column.dtype != torch.int64:
                raise DTypeError(f"{name} must be int64, got {column.dtype}.")

    def _check_values(self) -> None:
        columns = {name: getattr(self, name) for name in ("features", "revenue", "cost")}
        columns |= self._truth_columns()
        # One look for all of them: each would wait for a GPU.
        sound = [one.isfinite().all() for one in columns.values()]
        *finite, free = torch.stack([*sound, (self.cost >= 0).all()]).tolist()
        for (name, column), good in zip(columns.items(), finite, strict=True):
            if not good:
                bad = ~column.isfinite()
                row = int(bad.reshape(len(self), -1).any(dim=1).nonzero()[0])
                raise InvalidValueError(
                    f"{name} must be finite, got NaN or infinity in {int(bad.sum())} value(s), "
                    f"first in row {row}; drop or fill these rows before loading."
                )
        if not free:
            raise InvalidValueError(
                f"cost must be >= 0, got a minimum of {float(self.cost.min()):g}; a treatment "
                "that saves money earns revenue instead."
            )
        check_choice("source", self.source, get_args(Source))
        self._check_treatments()
        if self.propensity is not None:
            self._check_propensity(self.propensity)

    def _check_treatments(self) -> None:
        lowest, highest = map(int, self.treatment.aminmax()) if len(self) else (0, 0)
        if lowest < 0 or highest >= self.treatments:
            raise InvalidValueError(
                f"treatment must lie in 0 .. {self.treatments - 1}, got {lowest} .. {highest}."
            )
        if not rows_apart():
            check_every_treatment(self.arm_counts)

    def _check_propensity(self, propensity: Tensor) -> None:
        sound = ((propensity.sum(dim=1) - 1).abs() <= 1e-4) & (propensity >= 0).all(dim=1)
        if not bool(sound.all()):
            row = int((~sound).nonzero()[0])
            raise InvalidValueError(
                f"propensity rows must be >= 0 and sum to 1, got {int((~sound).sum())} row(s) that "
                f"do not, first {propensity[row].tolist()} in row {row}."
            )
        if bool((propensity.gather(1, self.treatment[:, None]) == 0).any()):
            raise InvalidValueError("a treatment that was received has propensity 0.")

    def _truth_columns(self) -> dict[str, Tensor]:
        if self.truth is None:
            return {}
        return {"truth.revenue": self.truth.revenue, "truth.cost": self.truth.cost}


def _odd(column: Tensor) -> bool:
    return column.requires_grad or column.is_inference()


def check_every_treatment(counts: Tensor) -> None:
    """Refuse rows of which none received some treatment.

    Args:
        counts: rows per treatment. Shape ``(M,)``.

    Raises:
        InvalidValueError: if a count is 0.
    """
    empty = (counts == 0).nonzero().flatten().tolist()
    if empty:
        raise InvalidValueError(
            f"every treatment must occur, got no row with treatment {empty}; nothing can be "
            "learned about it: leave it out, or take a larger or stratified sample."
        )


def people_of(parts: Sequence[UpliftData]) -> Tensor:
    """Return who each row is of, int64, on the CPU; rows without groups are a person each."""
    sizes = [0 if part.groups is None else len(part) for part in parts]
    none = torch.empty(0, dtype=torch.int64)
    known = torch.cat([none, *(one.groups.cpu() for one in parts if one.groups is not None)])
    if len(known) and int(known.max()) > torch.iinfo(torch.int64).max - sum(map(len, parts)):
        known = torch.unique(known, return_inverse=True)[1]  # no room for those without groups
    free = int(known.max()) + 1 if len(known) else 0
    ids = []
    for part, own in zip(parts, torch.split(known, sizes), strict=True):
        if part.groups is None:
            ids.append(torch.arange(free, free + len(part)))
            free += len(part)
        else:
            ids.append(own)
    return torch.cat(ids)


def check_alike(what: str, parts: Sequence[UpliftData]) -> None:
    """Refuse parts that do not fit each other.

    Args:
        what: they are, for errors.
        parts: logged rows.

    Raises:
        ShapeError: if they differ in number of features or treatments.
        DTypeError: if they differ in dtype.
    """
    sizes = {(part.features.shape[1], part.treatments) for part in parts}
    if len(sizes) > 1:
        raise ShapeError(f"{what} must agree in (features, treatments), got {sorted(sizes)}.")
    kinds = sorted({str(part.features.dtype) for part in parts})
    if len(kinds) > 1:
        raise DTypeError(
            f"{what} must have one dtype, got {' and '.join(kinds)}; convert one by "
            ".to(device, dtype)."
        )


def check_names(what: str, parts: Sequence[UpliftData]) -> None:
    """Refuse parts of which one has features or treatments in another order, or other ones.

    Args:
        what: they are, for errors.
        parts: logged rows; those without names are taken at their word.

    Raises:
        InvalidValueError: says which names differ.
    """
    for name in ("feature_names", "treatment_names"):
        given = dict.fromkeys(getattr(part, name) for part in parts)
        given.pop((), None)
        if len(given) > 1:
            place, pair = next(
                (place, pair)
                for place, pair in enumerate(zip(*given, strict=True))
                if len({*pair}) > 1
            )
            raise InvalidValueError(
                f"{what} must have the same {name} in the same order, got "
                f"{' and '.join(map(repr, dict.fromkeys(pair)))} in place {place}; put their "
                "columns in one order."
            )
