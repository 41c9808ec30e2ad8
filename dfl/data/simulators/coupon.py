"""`CouponSimulator`: four discounts and nothing, with concave response and random costs."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, TypeAlias, final, get_args

import torch
from torch import Tensor

from dfl.checks import check_choice, check_count, check_number
from dfl.data.simulators.simulator import AbstractSimulator, Assign, Draws
from dfl.errors import InvalidValueError
from dfl.seeds import normal, uniform

__all__ = ["CouponSimulator", "HiddenKind"]

HiddenKind: TypeAlias = Literal["multiplicative", "additive", "dose-free", "cost"]
"""How the hidden mood enters outcomes and the old policy, see `CouponSimulator`."""

_DEEPEST = 0.20
_COUPONS = 4  # that tastes and the pattern below are written for
_WEEKS = 4
_BASE_CHANCE = 0.12  # most weekly purchases without a coupon
_LIFT_CHANCE = 0.30  # most weekly purchases that a coupon can add
_HIDDEN_EFFECT = 0.45  # (0.12 + 0.30) * (1 + 0.45 * sqrt(3)) < 1 keeps chances valid
_HIDDEN_AMOUNT = 4.0  # currency per unit of mood; mean spend without a coupon is about 5
_HIDDEN_REDEMPTION = 0.9  # of the way from the chance of redeeming to the nearer of 0 and 1
_DOSE_FREE = (0.9, -1.1, 1.2, -1.3, 0.3)  # sums to 0 and does not follow the discounts
_FEATURES = 20  # that are always there
_OFTEN = (0.5, 0.3, 0.6, 0.2)  # how often the four features of 0 and 1 are 1


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class CouponSimulator(AbstractSimulator):
    """Shoppers who get no coupon, or 5, 10, 15 or 20 % off their purchases of four weeks.

    In each of the four weeks a person with features ``x`` and hidden mood ``u`` buys with
    chance ``p_j(x) (1 + 0.45 hidden_confounding u)``, where
    ``p_j(x) = base(x) + lift(x) (1 - exp(-speed(x) discount_j))`` is concave in the discount.
    Spend, the revenue, is the number of purchases times a random basket of mean
    ``basket(x)``. The coupon is redeemed with chance ``redemption(x)`` and then costs
    ``discount_j * spend``: costs are random, differ between people, and no coupon is free.

    The old policy rewards loyalty: it gives deep discounts to people who buy anyway. With
    hidden confounding it also gives loyal people deep discounts when they are in the mood
    to buy, and the persuadable when they are not; its rows then overstate the effect on the
    loyal and hide that on the persuadable.

    Features: sixteen standard normal, four of 0 and 1; ``x14`` and ``x15`` do nothing.
    Revenue and cost are in the same currency. Further options: see `AbstractSimulator`.

    Args:
        hidden_kind: what the hidden mood does. ``"multiplicative"``: as above.
            ``"additive"``: it adds ``4 hidden_confounding (u + sqrt(3))`` to spend, whatever
            the coupon, which nobody redeems a coupon on; effects are as without it, and only
            the logs' levels mislead. ``"dose-free"``: as above, but the old policy follows
            the mood along a pattern over the coupons that has nothing to do with their depth.
            ``"cost"``: who is in the mood redeems coupons with chance ``redemption(x) + 0.9
            hidden_confounding min(redemption(x), 1 - redemption(x)) u / sqrt(3)`` and buys as
            without it; the logs mislead about costs alone.
        hidden_region: share of the people whom the hidden mood concerns, in (0, 1]: those of
            largest ``x8``. Everywhere else logs tell the truth.
        ordered: whether a deeper discount does more. False: each is to the taste of other
            people, ``p_j(x) = base(x) + lift(x) sigmoid(1.5 taste_j(x))``, dear or not.
        alike: whether everybody responds as the average features do; nothing but the best
            constant mix can then be learned. The old policy still tells people apart.
        handling: currency that every purchase costs the shop, >= 0; where it is above the
            basket, revenue is negative. Mean baskets lie around 30.
        basket_spread: standard deviation of the logarithm of one basket around the person's
            mean, in (0, 10]. At 2 the largest of 10,000 baskets is some 200 times the mean.
        idle_features: further features, standard normal, that do nothing, >= 0.
        coupons: number of coupons beside none, >= 1, evenly spaced up to 20 % off.

    Raises:
        InvalidValueError: if an option is out of its range, or unordered or dose-free coupons are
            not four.
    """

    hidden_kind: HiddenKind = "multiplicative"
    hidden_region: float = 1.0
    ordered: bool = True
    alike: bool = False
    handling: float = 0.0
    basket_spread: float = 0.4
    idle_features: int = 0
    coupons: int = _COUPONS

    def __post_init__(self) -> None:
        """Check every option."""
        check_count("coupons", self.coupons, at_least=1)
        AbstractSimulator.__post_init__(self)
        check_choice("hidden_kind", self.hidden_kind, get_args(HiddenKind))
        check_number("hidden_region", self.hidden_region, above=0, at_most=1)
        check_number("handling", self.handling, at_least=0)
        check_number("basket_spread", self.basket_spread, above=0, at_most=10)
        check_count("idle_features", self.idle_features, at_least=0)
        if self.coupons != _COUPONS and (not self.ordered or self.hidden_kind == "dose-free"):
            raise InvalidValueError(
                f"coupons must be {_COUPONS} where they are not ordered or hidden_kind is "
                f"'dose-free', got {self.coupons}."
            )

    @property
    def treatment_names(self) -> tuple[str, ...]:
        """``none``, then how much each coupon takes off."""
        coupons = [100 * one for one in self._discounts[1:]]
        # Three digits, or as many as tell the coupons apart.
        each = ([f"{one:.{digits}g}%" for one in coupons] for digits in range(3, 18))
        return ("none", *next(names for names in each if len({*names}) == len(names)))

    @property
    def _discounts(self) -> list[float]:
        return [_DEEPEST * k / self.coupons for k in range(self.coupons + 1)]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """``x0`` to ``x19``, then the idle ones."""
        return tuple(f"x{column}" for column in range(_FEATURES + self.idle_features))

    def _draw(self, rows: int, generator: torch.Generator, assign: Assign) -> Draws:
        features = _features(rows, generator, self.idle_features)
        looks = _Person.of(features)  # to the old policy
        driving = _average(features) if self.alike else features
        person = _Person.of(driving)
        discount = features.new_tensor(self._discounts)
        chance = person.base + person.lift * self._response(driving, person.speed)
        hidden = (uniform(rows, generator=generator) * 2 - 1) * math.sqrt(3)
        concerned = self.hidden_confounding * self._concerned(features)
        treatment, propensity = assign(self._old_policy(features, looks, concerned * hidden))

        kind, redemption = self.hidden_kind, person.redemption
        amount = _HIDDEN_AMOUNT * concerned if kind == "additive" else torch.zeros_like(hidden)
        mood = 1 + _HIDDEN_EFFECT * hidden * (0 if kind in ("additive", "cost") else concerned)
        if kind == "cost":
            room = _HIDDEN_REDEMPTION * torch.minimum(redemption, 1 - redemption)
            redemption = redemption + room * concerned * hidden / math.sqrt(3)
        weekly = chance.gather(0, treatment[None]).squeeze(0) * mood
        orders = (uniform(_WEEKS, rows, generator=generator) < weekly).sum(
            dim=0, dtype=torch.float32
        )
        spread = normal(rows, generator=generator).mul_(self.basket_spread)
        spend = orders * person.basket * (spread - self.basket_spread**2 / 2).exp()
        redeemed = uniform(rows, generator=generator) < redemption
        cost = discount[treatment] * spend * redeemed

        expected = _WEEKS * person.basket * weekly
        by_arm = _WEEKS * person.basket * chance
        margin = 1 - self.handling / person.basket  # what is left of one unit of spend
        extra = amount * (hidden + math.sqrt(3))
        return Draws(
            features=features,
            treatment=treatment,
            revenue=self._observe(expected * margin, spend - self.handling * orders) + extra,
            cost=self._observe(discount[treatment] * redemption * expected, cost),
            expected_revenue=by_arm * margin + amount * math.sqrt(3),
            expected_cost=discount[:, None] * person.redemption * by_arm,
            propensity=propensity,
        )

    def _response(self, x: Tensor, speed: Tensor) -> Tensor:
        """Return the part of a person's lift that each treatment reaches, in [0, 1]."""
        if self.ordered:
            return -torch.expm1(-speed * speed.new_tensor(self._discounts)[:, None])
        tastes = torch.stack([x[4] - x[6], x[9] - x[7], x[11] + x[1], x[12] - x[2]])
        return torch.cat([x.new_zeros(1, x.shape[1]), (1.5 * tastes).sigmoid()])

    def _concerned(self, x: Tensor) -> Tensor:
        """Return 1 for the people whom the hidden mood concerns, else 0."""
        if self.hidden_region == 1:
            return torch.ones_like(x[8])
        return (x[8] > -NormalDist().inv_cdf(self.hidden_region)).float()

    def _old_policy(self, x: Tensor, person: "_Person", mood: Tensor) -> Tensor:
        """Return the scores of the old policy, one row per treatment."""
        depth = torch.linspace(-1, 1, self.coupons + 1, dtype=x.dtype)[:, None]
        seen = 1.5 * self.confounding * (person.loyalty - 0.6 * x[8].tanh())
        moody = 3 * mood * (0.3 + x[0] - x[4]).tanh()
        # Where only the largest score counts, scores linear in depth would leave the middle out.
        bend = 0 if self.overlap else depth.square()
        if self.hidden_kind == "dose-free":
            return depth * (seen - 0.6) + x.new_tensor(_DOSE_FREE)[:, None] * moody - bend
        return depth * (seen + moody - 0.6) - bend


@final
@dataclass(frozen=True, eq=False)
class _Person:
    """What drives a person, each of shape ``(n,)``."""

    loyalty: Tensor
    base: Tensor
    lift: Tensor
    speed: Tensor
    basket: Tensor
    redemption: Tensor

    @staticmethod
    def of(x: Tensor) -> "_Person":  # x: (20, n)
        loyalty = (
            0.8 * x[0] + 0.5 * (x[1] * x[2]).tanh() - 0.4 * (1.5 * x[3]).tanh() + 0.5 * x[16] - 0.25
        )
        persuadable = (
            x[4] - 0.7 * x[0] + 0.3 * x[5] + 0.5 * (x[5] * x[6]).tanh() + 0.6 * (x[17] - 0.3) * x[7]
        )
        return _Person(
            loyalty=loyalty,
            base=_BASE_CHANCE * (loyalty - 1).sigmoid(),
            lift=_LIFT_CHANCE * (1.6 * persuadable - 2.5).sigmoid(),
            speed=5 * (0.8 * (0.8 * x[8] + x[9] * (x[18] - 0.6)).tanh()).exp(),
            basket=(
                3.4 + 0.45 * x[10].tanh() + 0.3 * (x[11] * x[12]).tanh() + 0.3 * (x[18] - 0.6)
            ).exp(),
            redemption=0.35 + 0.6 * (1.35 * x[13] - 0.9 * (x[19] - 0.2) + 0.3).sigmoid(),
        )


def _features(rows: int, generator: torch.Generator, idle: int) -> Tensor:
    x = torch.empty(_FEATURES + idle, rows, dtype=torch.float32)
    x[:16].normal_(generator=generator)
    drawn = uniform(len(_OFTEN), rows, generator=generator)
    x[16:_FEATURES] = drawn < x.new_tensor(_OFTEN)[:, None]
    x[_FEATURES:].normal_(generator=generator)
    return x


def _average(x: Tensor) -> Tensor:
    """Return the features of an average person, in the shape of ``x``."""
    average = x.new_zeros(len(x))
    average[16:_FEATURES] = x.new_tensor(_OFTEN)
    return average[:, None].expand_as(x)
