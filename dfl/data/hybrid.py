"""The four parts that a study needs, and how one experiment, or a pair, becomes them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any, TypeAlias, final

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from dfl.checks import check_number
from dfl.data.encoder import FeatureEncoder
from dfl.data.simulators.bias import Bias
from dfl.data.simulators.old_policy import RidgePolicy
from dfl.data.sources.card import DataCard
from dfl.data.split import split
from dfl.data.uplift_data import UpliftData, check_alike, check_names
from dfl.errors import DataError, InvalidValueError, ShapeError
from dfl.seeds import stream, uniform

__all__ = [
    "Held",
    "HybridData",
    "HybridRecipe",
    "Policy",
    "pair_hybrid",
    "roi",
    "roi_lift",
    "to_hybrid",
]

Policy: TypeAlias = Callable[[Tensor], Tensor]
"""From features ``(N, F)`` to treatments ``(N,)``, int64."""

_PARTS = ("rct", "obs", "validation", "test")
_UNBIASED = (
    "bias is a way to make observational rows out of an experiment, got {got}; leave bias out, or "
    "give randomised rows alone and make_obs true."
)


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class HybridData:
    """The four parts that every study needs; no person is in two of them.

    Args:
        rct: few randomised rows to train on, or None.
        obs: many observational rows to train on, or None; one of the two is there.
        validation: randomised rows that choose between models.
        test: randomised rows that report.
        encoder: how tables become features, where the rows came from a table or a simulator.
        card: the published data set behind the rows, if there is one.
        left_out: what of the source is in none of the parts, and why, in words.
    """

    rct: UpliftData | None
    obs: UpliftData | None
    validation: UpliftData
    test: UpliftData
    encoder: FeatureEncoder | None = None
    card: DataCard | None = None
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def rows(self) -> dict[str, int]:
        """How many rows each part has, 0 where it is not there."""
        return {part: len(getattr(self, part) or ()) for part in _PARTS}


@final
@dataclass(frozen=True, eq=False)
class Held:
    """Validation and test rows that are there already; None: they are split off.

    Args:
        validation: rows that choose between models.
        test: rows that report.
    """

    validation: UpliftData | None = None
    test: UpliftData | None = None

    def divide(
        self, data: UpliftData, recipe: "HybridRecipe", *names: str, seed: int
    ) -> tuple[UpliftData, ...]:
        """Split rows into parts, and validation and test rows where they are not there.

        Args:
            data: the rows.
            recipe: says the fractions. Where only parts of it are wanted, they grow in
                proportion until every row has a place.
            names: of the parts, fields of the recipe.
            seed: of the split.

        Returns:
            The parts in the order of their names, then validation and test rows.

        Raises:
            InvalidValueError: if a part misses a treatment, or rows that are there name features
                or treatments otherwise.
            DataError: if rows that are there are not randomised, and ``data`` is.
            ShapeError: if they have other features or treatments than ``data``.
            DTypeError: if they have another dtype.
        """
        held = [self.validation, self.test]
        parts = [data, *(one for one in held if one is not None)]
        check_alike("rows and those held", parts)
        check_names("rows and those held", parts)
        if data.source == "rct" and any(one is not None and one.source == "obs" for one in held):
            raise DataError("validation and test must hold randomised rows, got source 'obs'.")
        own = [
            one for one, there in zip(("validation", "test"), held, strict=True) if there is None
        ]
        fractions = [getattr(recipe, name) for name in (*names, *own)]
        total = 1.0 if len(fractions) == len(recipe.fractions) else sum(fractions)
        found = [*split(data, [one / total for one in fractions], seed=seed)]
        return (
            *found[: len(names)],
            *(found.pop(len(names)) if there is None else there for there in held),
        )


@final
@dataclass(frozen=True, kw_only=True)
class HybridRecipe:
    """How one randomised experiment is cut up; the fractions are the paper's for Criteo.

    With small data take larger ``rct``, ``validation`` and ``test`` fractions, and less pool.

    Args:
        policy: fraction of all rows that trains the old policy, in (0, 1).
        pool: fraction from which observational rows are kept, in (0, 1).
        rct: fraction for training on randomised rows, in (0, 1).
        validation: fraction for choosing between models, in (0, 1).
        test: fraction for reporting, in (0, 1). The five sum to at most 1.
        epsilon: share of the old policy's decisions drawn uniformly, in [0, 1]. At 0, as in
            the paper, no treatment overlaps with another at any ``x``.
        share: budget of the old policy as a `Budget` share, in [0, 1].
        known_propensity: whether observational rows carry the chances they were kept with.
        make_obs: whether an experiment without observational rows is cut up to make some. If
            not, it is split in the proportions of ``rct``, ``validation`` and ``test``, and
            methods that need observational rows say so.
        bias: makes the old policy follow a feature that is then hidden, or None.

    Raises:
        InvalidValueError: if a number is out of its range, or logs are to be biased that are not
            made.
    """

    policy: float = 0.05
    pool: float = 0.50
    rct: float = 0.05
    validation: float = 0.10
    test: float = 0.30
    epsilon: float = 0.1
    share: float = 0.3
    known_propensity: bool = False
    make_obs: bool = True
    bias: Bias | None = None

    def __post_init__(self) -> None:
        """Check every range; `split` checks the fractions again where they are used."""
        fractions = self.fractions
        if not all(0 < fraction < 1 for fraction in fractions) or sum(fractions) > 1 + 1e-9:
            raise InvalidValueError(
                "policy, pool, rct, validation and test must each lie in (0, 1) and sum to at "
                f"most 1, got {fractions} with sum {sum(fractions):g}."
            )
        for name in ("epsilon", "share"):
            check_number(name, getattr(self, name), at_least=0, at_most=1)
        if self.bias is not None and not self.make_obs:
            raise InvalidValueError(_UNBIASED.format(got="make_obs false"))

    def refuse_bias(self, got: str) -> None:
        """Refuse to bias logs that are there already.

        Raises:
            InvalidValueError: if that is asked for.
        """
        if self.bias is not None:
            raise InvalidValueError(_UNBIASED.format(got=got))

    @property
    def fractions(self) -> tuple[float, float, float, float, float]:
        """Fractions of policy, pool, RCT, validation and test rows."""
        return (self.policy, self.pool, self.rct, self.validation, self.test)


def to_hybrid(
    data: UpliftData,
    *,
    seed: int,
    recipe: HybridRecipe | None = None,
    policy: Policy | None = None,
    held: Held | None = None,
    encoder: FeatureEncoder | None = None,
) -> HybridData:
    """Cut a randomised experiment into RCT parts and rows an old policy might have left.

    An old policy, trained on its own fraction, proposes a treatment for every row of the
    pool; the rows whose real treatment is the proposed one stay as observational rows. They
    look as if the policy had chosen. Where the experiment's arms differ in size, so does the
    chance to stay: of two treatments the policy proposes equally often, the larger arm
    leaves more rows.

    Args:
        data: randomised rows. Groups, where given, are never cut.
        seed: the same seed gives the same parts.
        recipe: fractions and old policy; None: `HybridRecipe`'s defaults.
        policy: an old policy of your own; the fraction meant to train one is then left out.
        held: validation and test rows that are there already.
        encoder: how a table became the features; None: each is a column of its name. What the
            recipe's bias hides is taken out of all parts and out of the encoder that is returned;
            ``truth`` stays that of people of whom everything is known.

    Raises:
        InvalidValueError: if the rows are not randomised, a part misses a treatment (take
            a larger fraction, or a larger epsilon where it is the observational part), a bias
            cannot be had (see `Bias`), or ``policy`` returns a treatment that is not there.
        UnknownNameError: if the recipe's bias names a feature or column that is not there.
        ShapeError: if ``policy`` does not return one treatment per row, or as `Held.divide`.
        DataError: as `Held.divide`.
        DTypeError: as `Held.divide`.

    Source:
        Zhou et al. (2025), arXiv:2510.19517, section 5 (Criteo hybrid set). Deviations: the
        old policy is a ridge regression per treatment, and explores with ``epsilon``.
    """
    recipe = HybridRecipe() if recipe is None else recipe
    if data.source != "rct":
        raise InvalidValueError("to_hybrid needs randomised rows, got source 'obs'.")
    bias, names = recipe.bias, encoder or FeatureEncoder.numeric(data.feature_names)
    if bias is not None:
        bias.check(names)
        if policy is not None:
            raise InvalidValueError("give a policy of your own or a recipe with bias, got both.")
    training, pool, rct, validation, test = (held or Held()).divide(
        data, recipe, "policy", "pool", "rct", seed=seed
    )
    if bias is None:
        proposed = (policy or RidgePolicy.fit(training, share=recipe.share))(pool.features)
        if proposed.shape != pool.treatment.shape or proposed.dtype != torch.int64:
            raise ShapeError(
                f"policy must return {tuple(pool.treatment.shape)} int64, got "
                f"{tuple(proposed.shape)} {proposed.dtype}."
            )
        lowest, highest = map(int, proposed.aminmax())
        if lowest < 0 or highest >= pool.treatments:
            raise InvalidValueError(
                f"policy must return treatments in 0 .. {pool.treatments - 1}, got {lowest} .. "
                f"{highest}."
            )
        chances = one_hot(proposed, pool.treatments).to(pool.features)
    else:
        chances = bias.chances(training, pool.features, names, recipe.share)
        proposed = chances.multinomial(1, generator=stream(seed, "bias")).squeeze(1)
    obs = _keep_matching(pool, proposed, chances, recipe, stream(seed, "epsilon"))
    hybrid = HybridData(rct=rct, obs=obs, validation=validation, test=test, encoder=encoder)
    return hybrid if bias is None else _hide(hybrid, *bias.visible(names))


def pair_hybrid(
    data: UpliftData,
    obs: UpliftData | None,
    *,
    seed: int,
    recipe: HybridRecipe | None = None,
    held: Held | None = None,
) -> HybridData:
    """Split real randomised rows beside real observational ones, or alone.

    Args:
        data: randomised rows; all are used, in the proportions of the recipe's ``rct``,
            ``validation`` and ``test``.
        obs: observational rows, kept whole; or None.
        seed: the same seed gives the same parts.
        recipe: None: `HybridRecipe`'s defaults.
        held: validation and test rows that are there already.

    Raises:
        InvalidValueError: if ``data`` is not randomised or ``obs`` is, a part misses a
            treatment, the recipe would bias logs, or names differ as in `Held.divide`.
        DataError: as `Held.divide`.
        ShapeError: as `Held.divide`, or if ``obs`` has other features or treatments.
        DTypeError: as `Held.divide`, or if ``obs`` has another dtype.
    """
    recipe = HybridRecipe() if recipe is None else recipe
    if data.source != "rct" or (obs is not None and obs.source != "obs"):
        got = data.source if obs is None else f"{data.source}' and '{obs.source}"
        raise InvalidValueError(f"pair_hybrid needs data 'rct' and obs 'obs', got '{got}'.")
    recipe.refuse_bias("a split that makes none" if obs is None else "observational rows")
    if obs is not None:
        check_alike("data and obs", (data, obs))
        check_names("data and obs", (data, obs))
    rct, validation, test = (held or Held()).divide(data, recipe, "rct", seed=seed)
    return HybridData(rct=rct, obs=obs, validation=validation, test=test)


def roi(data: UpliftData) -> float:
    """Return total revenue per unit of total cost, no unit.

    Raises:
        InvalidValueError: if nothing was spent.
    """
    spent = float(data.cost.sum(dtype=torch.float64))
    if spent == 0:
        raise InvalidValueError("return on investment needs a cost above 0, got no cost at all.")
    return float(data.revenue.sum(dtype=torch.float64)) / spent


def roi_lift(hybrid: HybridData) -> float:
    """Return how much better the observational rows look than random ones, no unit.

    ``roi(obs) / roi(test) - 1``: the paper reports 0.8243 for its Criteo set. Far from 0
    means strong selection; near 0 means the observational rows are hardly biased.

    Raises:
        InvalidValueError: if there are no observational rows, or nothing was spent.
    """
    if hybrid.obs is None:
        raise InvalidValueError("roi_lift needs observational rows, got none.")
    return roi(hybrid.obs) / roi(hybrid.test) - 1


def _keep_matching(
    pool: UpliftData,
    proposed: Tensor,
    chances: Tensor,
    recipe: HybridRecipe,
    generator: torch.Generator,
) -> UpliftData:
    """Return the rows of the pool whose treatment is the one the old policy draws.

    Args:
        pool: randomised rows.
        proposed: treatment of each before exploration. Shape ``(N,)``.
        chances: that it was proposed, of each treatment. Shape ``(N, M)``.
        recipe: says how much is explored, and whether rows carry their chances.
        generator: of the exploration.

    Raises:
        InvalidValueError: if no row is left.
    """
    arms, shape = pool.treatments, pool.treatment.shape
    explores = uniform(*shape, generator=generator) < recipe.epsilon
    anything = torch.randint(arms, shape, generator=generator)
    device = pool.treatment.device
    drawn = torch.where(explores.to(device), anything.to(device), proposed)
    kept = (drawn == pool.treatment).nonzero().squeeze(1)
    if len(kept) == 0:
        raise InvalidValueError(
            "the old policy proposes the treatment received in no row of the pool; take a "
            "larger pool or epsilon."
        )
    propensity = _propensity(pool, chances, recipe.epsilon)[kept]
    return replace(
        pool.subset(kept),
        source="obs",
        propensity=propensity if recipe.known_propensity else None,
    )


def _propensity(pool: UpliftData, chances: Tensor, epsilon: float) -> Tensor:
    """Return the chance of each treatment given that the row was kept, ``(N, M)``."""
    arms = pool.treatments
    design = pool.propensity
    if design is None:
        design = (pool.arm_counts.float() / len(pool)).to(pool.features).expand(len(pool), arms)
    kept = (epsilon / arms + (1 - epsilon) * chances.to(design)) * design
    return kept / kept.sum(dim=1, keepdim=True)


def _hide(hybrid: HybridData, kept: Tensor, encoder: FeatureEncoder) -> HybridData:
    """Return the parts with the features that are left."""

    def left(part: UpliftData | None) -> Any:
        if part is None:
            return None
        names = tuple(compress(part.feature_names, kept.tolist()))
        return replace(part, features=part.features[:, kept], feature_names=names)

    parts = {name: left(getattr(hybrid, name)) for name in _PARTS}
    return replace(hybrid, **parts, encoder=encoder)
