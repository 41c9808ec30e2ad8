"""`CouponSimulator`: four discounts and nothing, with concave response and random costs."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from dfl.data.simulators.simulator import AbstractSimulator, Assign, Draws

__all__ = ["CouponSimulator"]

_DISCOUNTS = (0.0, 0.05, 0.10, 0.15, 0.20)
_WEEKS = 4
_BASE_CHANCE = 0.12  # most weekly purchases without a coupon
_LIFT_CHANCE = 0.30  # most weekly purchases that a coupon can add
_HIDDEN_EFFECT = 0.45  # (0.12 + 0.30) * (1 + 0.45 * sqrt(3)) < 1 keeps chances valid
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
    Revenue and cost are in the same currency. Options: see `AbstractSimulator`.
    """

    feature_names: ClassVar[tuple[str, ...]] = tuple(f"x{column}" for column in range(20))
    treatment_names: ClassVar[tuple[str, ...]] = ("none", "5%", "10%", "15%", "20%")

    def _draw(self, rows: int, generator: torch.Generator, assign: Assign) -> Draws:
        features = _features(rows, generator)
        person = _Person.of(features)
        discount = torch.tensor(_DISCOUNTS)
        chance = person.base + person.lift * -torch.expm1(-person.speed * discount[:, None])
        hidden = (torch.rand(rows, generator=generator) * 2 - 1) * math.sqrt(3)
        treatment, propensity = assign(self._old_policy(features, person, hidden))

        mood = 1 + _HIDDEN_EFFECT * self.hidden_confounding * hidden
        weekly = chance.gather(0, treatment[None]).squeeze(0) * mood
        orders = (torch.rand((_WEEKS, rows), generator=generator) < weekly).sum(dim=0)
        spread = torch.randn(rows, generator=generator).mul_(_BASKET_SPREAD)
        spend = orders * person.basket * (spread - _BASKET_SPREAD**2 / 2).exp()
        redeemed = torch.rand(rows, generator=generator) < person.redemption
        cost = discount[treatment] * spend * redeemed

        expected = _WEEKS * person.basket * weekly
        revenue_by_arm = _WEEKS * person.basket * chance
        return Draws(
            features=features,
            treatment=treatment,
            revenue=self._observe(expected, spend),
            cost=self._observe(discount[treatment] * person.redemption * expected, cost),
            expected_revenue=revenue_by_arm,
            expected_cost=discount[:, None] * person.redemption * revenue_by_arm,
            propensity=propensity,
        )

    def _old_policy(self, x: Tensor, person: "_Person", hidden: Tensor) -> Tensor:
        """Return the scores of the old policy, one row per treatment."""
        depth = torch.linspace(-1, 1, len(_DISCOUNTS))[:, None]
        seen = 1.5 * self.confounding * (person.loyalty - 0.6 * x[8].tanh())
        moody = 3 * self.hidden_confounding * hidden * (0.3 + x[0] - x[4]).tanh()
        return depth * (seen + moody - 0.6)


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
