import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfl.errors import InvalidValueError
from dfl.scale import Sketch


def sketch(
    multiplier: list[float], cost: list[float], digits: int = 10, spent: float = 0
) -> Sketch:
    given = np.array(multiplier, np.float64), np.array(cost, np.float64)
    rest = {"rows": 1, "spent": spent, "earned": 0.0, "dearest": spent + sum(cost)}
    return Sketch.of(*given, given[0] * given[1], digits=digits, **rest)


STEPS = st.lists(st.tuples(st.floats(1e-9, 1e9), st.floats(0.5, 2)), min_size=1, max_size=40)


@given(steps=STEPS, share=st.floats(0, 1), digits=st.sampled_from([0, 10, 52]))
def test_the_multiplier_lies_in_the_bracket(
    steps: list[tuple[float, float]], share: float, digits: int
) -> None:
    multiplier, cost = map(list, zip(*sorted(steps, reverse=True), strict=True))
    budget = 3 + share * sum(cost)
    found = sketch(multiplier, cost, digits, spent=3).bracket(budget)
    spent = 3 + np.cumsum(cost)
    point = int(np.searchsorted(spent, budget, side="right"))
    if point < len(multiplier):
        assert found.low <= multiplier[point] <= found.high
    inside = [one for one in multiplier if found.low <= one <= found.high]
    assert found.steps <= len(inside)


def test_spare_steps_lie_inside() -> None:
    found = sketch([8.0, 4.0, 2.0, 1.0, 0.5], [1] * 5)
    assert found.bracket(1.5).steps == 1
    for spare, low, steps in ((1, 2.0, 2), (2, 1.0, 3), (9, 0.5, 4)):
        bracket = found.bracket(1.5, spare=spare)
        assert (bracket.low, bracket.steps) == (low, steps)


def test_a_budget_for_everything_has_no_price() -> None:
    found = sketch([2.0, 0.5], [1, 1]).bracket(5.0)
    assert (found.low, found.high, found.steps) == (0.0, 0.5, 0)
    assert sketch([], []).bracket(1.0).low == 0.0


@given(steps=STEPS, cut=st.integers(0, 40))
def test_sketches_add_up(steps: list[tuple[float, float]], cut: int) -> None:
    multiplier, cost = (list(one) for one in zip(*steps, strict=True))
    whole = sketch(multiplier, cost, spent=2)
    parts = [sketch(multiplier[:cut], cost[:cut], spent=2), sketch(multiplier[cut:], cost[cut:])]
    found = Sketch.merged(parts)
    assert found.bins.tolist() == whole.bins.tolist() == sorted(set(whole.bins), reverse=True)
    assert found.steps.tolist() == whole.steps.tolist()
    np.testing.assert_allclose(found.cost, whole.cost, rtol=1e-12)
    np.testing.assert_allclose(found.revenue, whole.revenue, rtol=1e-12)
    assert (found.rows, found.spent) == (2, 2)


def test_bins_of_all_digits_hold_one_number() -> None:
    found = sketch([1.0, np.nextafter(1, 2), 1.0], [1, 1, 1], digits=52)
    assert found.steps.tolist() == [1, 2]
    bracket = found.bracket(2.0)
    assert bracket.low == bracket.high == 1.0


def test_only_sketches_of_equal_digits_add_up() -> None:
    with pytest.raises(
        InvalidValueError, match=r"must be some of equal digits, got digits \[10, 52"
    ):
        Sketch.merged([sketch([1.0], [1]), sketch([1.0], [1], digits=52)])
