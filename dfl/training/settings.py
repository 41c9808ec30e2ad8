"""What every method is given: training sets, and the settings of training."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor

from dfl.checks import check_choice, check_count, check_number, check_part, check_several
from dfl.data.uplift_data import UpliftData, check_alike, check_names
from dfl.errors import DataError, ShapeError
from dfl.scale import gathered, rows_apart
from dfl.seeds import stream, uniform
from dfl.training.people import numbered

__all__ = ["Part", "Rows", "Training", "TrainingSet", "hold_out", "parts_of"]

Part: TypeAlias = Literal["rct", "obs"]
Rows: TypeAlias = Literal["rct", "obs", "both"]

_TURNS = 50  # in which halves are mended; two will do unless treatments share a few groups


@final
@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of the optimiser and of the ensemble, the same in every method.

    Args:
        epochs: passes over the training rows, >= 1.
        batch_size: rows per step, >= 1.
        min_steps: steps in all at least, >= 1; a small set is passed over more often.
        learning_rate: step of Adam at the start, > 0.
        schedule: ``"cosine"``: the step falls to 0 along half a cosine over the stage's steps;
            ``"constant"``: it stays.
        averaging: what is judged and kept is an exponential average of the weights over about
            this share of the stage's steps, in [0, 1); 0: the weights themselves.
        weight_decay: decoupled weight decay (the AdamW form, each step shrinks weights by
            ``learning_rate * weight_decay``), >= 0. Of several candidates the one with the
            smallest validation error is taken.
        ranks: networks are also given each feature's rank among the training rows, and whether it
            is off its most frequent value; pays where one value holds many rows, or tails are
            long.
        validation: what validation rows are for. ``"choose"``: weight decay and epochs;
            ``"learn"``: the weight decay alone, then they join the randomised training rows, and
            the last epoch is kept.
        members: networks in the ensemble, >= 1; they differ in initial weights and in the
            order of rows, and predict their mean.

    Raises:
        InvalidValueError: if a setting is out of range.
    """

    epochs: int = 10
    batch_size: int = 1024
    min_steps: int = 200
    learning_rate: float = 4e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    averaging: float = 0.1
    weight_decay: tuple[float, ...] = (0.15, 0.5, 1.5)
    ranks: bool = False
    validation: Literal["choose", "learn"] = "choose"
    members: int = 5

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("epochs", "batch_size", "min_steps", "members"):
            check_count(name, getattr(self, name), at_least=1)
        check_number("learning_rate", self.learning_rate, above=0)
        check_choice("schedule", self.schedule, ("cosine", "constant"))
        check_number("averaging", self.averaging, at_least=0, below=1)
        check_choice("validation", self.validation, ("choose", "learn"))
        check_several("weight_decay", self.weight_decay)
        check_count("number of weight_decay values", len(self.weight_decay), at_least=1)
        for decay in self.weight_decay:
            check_number("weight_decay", decay, at_least=0)

    @property
    def min_steps_per_epoch(self) -> int:
        """``min_steps`` spread over the epochs, rounded up."""
        return -(-self.min_steps // self.epochs)

    def rate_after(self, done: float) -> float:
        """Return what the learning rate is multiplied by once a share of the steps is done.

        Source:
            Loshchilov and Hutter (2017), arXiv:1608.03983, equation 5, without restarts.
        """
        return 1.0 if self.schedule == "constant" else (1 + math.cos(math.pi * done)) / 2


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingSet:
    """The rows of one study: whatever a method needs of randomised and observational logs.

    Args:
        rct: randomised training rows, or None.
        obs: observational training rows, or None.
        validation: randomised rows for choosing epochs and weight decay, or None.
        seed: starting point of all randomness of training on this set.

    Raises:
        InvalidValueError: if a part is something else than rows, or parts name their features or
            treatments otherwise.
        DataError: if a randomised part is not randomised.
        ShapeError: if the parts differ in number of features or treatments, or all are missing,
            unless other processes have rows of their own.
        DTypeError: if they differ in dtype.
    """

    rct: UpliftData | None = None
    obs: UpliftData | None = None
    validation: UpliftData | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check that the parts fit each other."""
        for name, part in (("rct", self.rct), ("obs", self.obs), ("validation", self.validation)):
            if part is not None:
                check_part(name, part, UpliftData, "UpliftData(...) or dfl.data.load(...)")
        for name in ("rct", "validation"):
            part = getattr(self, name)
            if part is not None and part.source != "rct":
                raise DataError(f"{name} must hold randomised rows, got source {part.source!r}.")
        if not self.parts and not rows_apart():
            raise ShapeError("rct, obs and validation must hold some rows, got no rows at all.")
        check_alike("rct, obs and validation", self.parts)
        check_names("rct, obs and validation", self.parts)

    @property
    def parts(self) -> list[UpliftData]:
        """The parts that are there."""
        return [part for part in (self.rct, self.obs, self.validation) if part is not None]

    def to(self, device: torch.device | str) -> "TrainingSet":
        """Return the same rows on another device."""
        return self._each(lambda part: part.to(device))

    def plain(self) -> "TrainingSet":
        """Return the rows as numbers alone, see `UpliftData.plain`."""
        return self._each(UpliftData.plain)

    def _each(self, change: Callable[[UpliftData], UpliftData]) -> "TrainingSet":
        parts = (self.rct, self.obs, self.validation)
        rct, obs, validation = (None if part is None else change(part) for part in parts)
        return replace(self, rct=rct, obs=obs, validation=validation)

    def with_all_learned(self) -> "TrainingSet":
        """Return the set with its validation rows among the randomised training rows.

        Raises:
            DataError: if one of the two parts is missing.
        """
        if self.rct is None or self.validation is None:
            missing = "rct" if self.rct is None else "validation"
            raise DataError(
                "training.validation 'learn' adds validation rows to the randomised training rows, "
                f"got no {missing} rows; take 'choose', or a method that trains on rct rows."
            )
        return replace(self, rct=self.rct.joined(self.validation), validation=None)

    def rows(self, which: Rows) -> list[UpliftData]:
        """Return the named training parts that are there; never the validation rows."""
        named = {"rct": (self.rct,), "obs": (self.obs,), "both": (self.rct, self.obs)}[which]
        return [part for part in named if part is not None]


def parts_of(rows: Rows) -> tuple[Part, ...]:
    """Return the parts that rows are taken from."""
    return ("rct", "obs") if rows == "both" else (rows,)


def hold_out(one: TrainingSet, share: float) -> tuple[TrainingSet, TrainingSet]:
    """Split a set's randomised rows at random; rows of one group stay together.

    Args:
        one: a set with randomised rows.
        share: of the rows, or groups, that are held out, in (0, 1).

    Returns:
        The set with the rows kept, and with those held out; every treatment is in both.

    Raises:
        DataError: if a treatment has rows of one group only, or so few groups hold rows of several
            treatments that no such halves were found.
    """
    assert one.rct is not None  # the methods that split name rct among what they use
    treatment = one.rct.treatment.cpu()
    group, count = numbered(one.rct)
    own = [torch.unique(group[treatment == arm]) for arm in range(one.rct.treatments)]
    beyond = uniform(count, generator=stream(one.seed, "held out")) - share
    held = _in_both(own, beyond)
    chosen = held[group].to(one.rct.features.device)
    return replace(one, rct=one.rct.subset(~chosen)), replace(one, rct=one.rct.subset(chosen))


def _in_both(own: Sequence[Tensor], beyond: Tensor) -> Tensor:
    """Return which groups are held out, so that each treatment has groups in both halves.

    A treatment that has not is given one by moving the group whose draw is nearest to the border.
    That may take another treatment's last: from the second turn on such groups, and those that
    were moved already, come after all others.

    Args:
        own: groups that have rows of each treatment here, ascending.
        beyond: how far each group's draw is beyond the border. Shape ``(G,)``.

    Raises:
        DataError: if a treatment has rows of one group only, or no such halves were found.
    """
    held, away, moves = beyond < 0, beyond.abs(), torch.zeros_like(beyond)
    for turn in range(_TURNS):
        before = moves.clone()
        for arm, here in enumerate(own):
            ids = _told(here, away, held)
            if ids.shape[0] < 2:
                raise DataError(
                    f"randomised rows are split in two, and treatment {arm} has rows of one person "
                    "or group only; give more randomised rows, or leave the treatment out."
                )
            if bool(held[ids].any()) and not bool(held[ids].all()):
                continue
            order = away
            if turn:
                order = away + moves
                order[torch.cat([_last(_told(each, away, held), held) for each in own])] += _TURNS
                ids = _told(here, order, held)
            nearest = ids[order[ids].argmin()]
            held[nearest] = ~held[nearest]
            moves[nearest] += 1
        if torch.equal(before, moves):
            return held
    raise DataError(
        "randomised rows are split in two, and no way was found to have every treatment in both "
        "halves: too few groups hold rows of it; give more groups, or leave a treatment out."
    )


def _last(ids: Tensor, held: Tensor) -> Tensor:
    """Return the groups that are a treatment's only one held out, or only one kept."""
    halves = (ids[held[ids]], ids[~held[ids]])
    return torch.cat([half[: int(half.shape[0] == 1)] for half in halves])


def _told(own: Tensor, away: Tensor, held: Tensor) -> Tensor:
    """Return a treatment's groups; of several processes a few that say what all of them would.

    Args:
        own: those that have rows here, ascending.
        away: of the groups the nearest is told. Shape ``(G,)``.
        held: who is held out. Shape ``(G,)``.
    """
    if not rows_apart():
        return own
    nearest = own[away[own].sort(stable=True).indices[:1]]
    halves = (own, own[held[own]], own[~held[own]])
    ends = [end for half in halves for end in (half[:1], half[-1:])]
    told: Tensor = torch.unique(torch.cat(gathered(torch.cat((nearest, *ends)))))
    return told
