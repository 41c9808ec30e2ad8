"""The price of money at which the best tree keeps within a budget."""

import sys
from typing import Protocol, TypeVar

__all__ = ["Forest", "Found", "within"]

_STEPS = 25  # prices of money that are tried at most
_LARGEST = sys.float_info.max / 4  # price: there it is doubled no more


class Found(Protocol):
    """A tree: what it is worth at the price it was found at, and what it costs."""

    @property
    def value(self) -> float:
        """Return revenue less priced cost, per head."""
        ...

    @property
    def cost(self) -> float:
        """Return the cost per head."""
        ...

    def at(self, price: float, other: float) -> float:
        """Return what the tree that was found at a price is worth at another."""
        ...


T = TypeVar("T", bound=Found)
T_co = TypeVar("T_co", bound=Found, covariant=True)


class Forest(Protocol[T_co]):
    """A search for the best tree at a price; worths within its slack are equal."""

    @property
    def slack(self) -> float:
        """Return what worths may differ by and be equal."""
        ...

    def best(self, price: float, depth: int) -> T_co:
        """Return the best tree."""
        ...

    def exact(self, depth: int) -> bool:
        """Say whether every tree is tried."""
        ...


def within(budget: float, forest: Forest[T], depth: int, first: float) -> T:
    """Return the best tree at the smallest price of money at which it keeps within a budget.

    What a tree is worth is a line over the price, and the best worth of all trees their upper
    envelope. So the next price tried is where a tree beyond the budget and one within it are worth
    the same: if none is worth more there, no best tree lies between them.

    Args:
        budget: in currency per head.
        forest: all trees, or those that a greedy search finds, whose prices are halved instead.
        depth: of the trees.
        first: price that is tried first after 0, > 0.
    """
    low, beyond = 0.0, forest.best(0.0, depth)
    if beyond.cost <= budget:
        return beyond
    high, best = first, forest.best(first, depth)
    while best.cost > budget and high < _LARGEST:
        low, beyond, high = high, best, 2 * high
        best = forest.best(high, depth)
    for _ in range(_STEPS):
        equal = -1.0
        if forest.exact(depth) and beyond.cost > best.cost:
            equal = (beyond.value + low * beyond.cost) - (best.value + high * best.cost)
            equal /= beyond.cost - best.cost
        price = equal if low < equal < high else (low + high) / 2
        found = forest.best(price, depth)
        if price == equal and found.value <= beyond.at(low, price) + forest.slack:
            break
        if found.cost <= budget:
            high, best = price, found
        else:
            low, beyond = price, found
    return best
