"""`CouponSimulator`: four discounts and nothing, with concave response and random costs."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar, Literal, TypeAlias, final, get_args

import torch
from torch import Tensor

from dfl.checks import check_choice, check_number
from dfl.data.simulators.simulator import AbstractSimulator, Assign, Draws

__all__ = ["CouponSimulator", "HiddenKind"]

HiddenKind: TypeAlias = Literal["multiplicative", "additive", "dose-free"]
"""How the hidden mood enters outcomes and the old policy, see `CouponSimulator`."""

_DISCOUNTS = (0.0, 0.05, 0.10, 0.15, 0.20)
_WEEKS = 4
_BASE_CHANCE = 0.12  # most weekly purchases without a coupon
_LIFT_CHANCE = 0.30  # most weekly purchases that a coupon can add
_HIDDEN_EFFECT = 0.45  # (0.12 + 0.30) * (1 + 0.45 * sqrt(3)) < 1 keeps chances valid
_HIDDEN_AMOUNT = 4.0  # currency per unit of mood; mean spend without a coupon is about 5
_DOSE_FREE = (0.9, -1.1, 1.2, -1.3, 0.3)  # sums to 0 and does not follow the discounts
_BASKET_SPREAD = 0.4  # log standard deviation of one basket around the person's own


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
        hidden_region: share of the people whom the hidden mood concerns, in (0, 1]: those of
            largest ``x8``. Everywhere else logs tell the truth.

    Raises:
        InvalidValueError: if an option is out of its range.
    """

    hidden_kind: HiddenKind = "multiplicative"
    hidden_region: float = 1.0

    feature_names: ClassVar[tuple[str, ...]] = tuple(f"x{column}" for column in range(20))
    treatment_names: ClassVar[tuple[str, ...]] = ("none", "5%", "10%", "15%", "20%")

    def __post_init__(self) -> None:
        """Check every option."""
        AbstractSimulator.__post_init__(self)
        check_choice("hidden_kind", self.hidden_kind, get_args(HiddenKind))
        check_number("hidden_region", self.hidden_region, above=0, at_most=1)

    def _draw(self, rows: int, generator: torch.Generator, assign: Assign) -> Draws:
        features = _features(rows, generator)
        person = _Person.of(features)
        discount = torch.tensor(_DISCOUNTS)
        chance = person.base + person.lift * -torch.expm1(-person.speed * discount[:, None])
        hidden = (torch.rand(rows, generator=generator) * 2 - 1) * math.sqrt(3)
        concerned = self.hidden_confounding * self._concerned(features)
        treatment, propensity = assign(self._old_policy(features, person, concerned * hidden))

        additive = self.hidden_kind == "additive"
        amount = _HIDDEN_AMOUNT * concerned if additive else torch.zeros(rows)
        mood = 1 + _HIDDEN_EFFECT * hidden * (0 if additive else concerned)
        weekly = chance.gather(0, treatment[None]).squeeze(0) * mood
        orders = (torch.rand((_WEEKS, rows), generator=generator) < weekly).sum(dim=0)
        spread = torch.randn(rows, generator=generator).mul_(_BASKET_SPREAD)
        spend = orders * person.basket * (spread - _BASKET_SPREAD**2 / 2).exp()
        redeemed = torch.rand(rows, generator=generator) < person.redemption
        cost = discount[treatment] * spend * redeemed

        expected = _WEEKS * person.basket * weekly
        by_arm = _WEEKS * person.basket * chance
        extra = amount * (hidden + math.sqrt(3))
        return Draws(
            features=features,
            treatment=treatment,
            revenue=self._observe(expected, spend) + extra,
            cost=self._observe(discount[treatment] * person.redemption * expected, cost),
            expected_revenue=by_arm + amount * math.sqrt(3),
            expected_cost=discount[:, None] * person.redemption * by_arm,
            propensity=propensity,
        )

    def _concerned(self, x: Tensor) -> Tensor:
        """Return 1 for the people whom the hidden mood concerns, else 0."""
        if self.hidden_region == 1:
            return torch.ones(x.shape[1])
        return (x[8] > NormalDist().inv_cdf(1 - self.hidden_region)).float()

    def _old_policy(self, x: Tensor, person: "_Person", mood: Tensor) -> Tensor:
        """Return the scores of the old policy, one row per treatment."""
        depth = torch.linspace(-1, 1, len(_DISCOUNTS))[:, None]
        seen = 1.5 * self.confounding * (person.loyalty - 0.6 * x[8].tanh())
        moody = 3 * mood * (0.3 + x[0] - x[4]).tanh()
        # Where only the largest score counts, scores linear in depth would leave the middle out.
        bend = 0 if self.overlap else depth.square()
        if self.hidden_kind == "dose-free":
            return depth * (seen - 0.6) + torch.tensor(_DOSE_FREE)[:, None] * moody - bend
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


def _features(rows: int, generator: torch.Generator) -> Tensor:
    x = torch.empty(20, rows)
    x[:16].normal_(generator=generator)
    often = torch.tensor([0.5, 0.3, 0.6, 0.2])[:, None]
    x[16:] = torch.rand((4, rows), generator=generator) < often
    return x
