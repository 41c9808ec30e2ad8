import math
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from dfl.checks import (
    check_choice,
    check_count,
    check_number,
    check_part,
    check_seed,
    check_several,
    checks_put_off,
    put_off,
    putting_off,
)
from dfl.errors import InvalidValueError, ShapeError
from dfl.hypergrad.conjugate_gradient import conjugate_gradient
from dfl.hypergrad.curvature.linear_system import balance, check_products
from dfl.hypergrad.curvature.point import check_finite
from dfl.losses import LoggedBatch
from dfl.losses.estimators.policy_value import check_every_treatment_seen, matched_weight
from dfl.problem import ObservedCost
from dfl.problem.amounts import check_amounts


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (0.0, {"above": 0}, "knob must be > 0, got 0."),
        (-1.5, {"at_least": 0}, "knob must be >= 0, got -1.5."),
        (2.0, {"below": 2}, "knob must be < 2, got 2."),
        (2.5, {"at_most": 2}, "knob must be <= 2, got 2.5."),
        (0.0, {"above": 0, "below": 1}, "knob must be in (0, 1), got 0."),
        (1.0, {"above": 0, "below": 1}, "knob must be in (0, 1), got 1."),
        (-0.1, {"at_least": 0, "below": 1}, "knob must be in [0, 1), got -0.1."),
        (1.5, {"above": 0, "at_most": 1}, "knob must be in (0, 1], got 1.5."),
        (1.5, {"at_least": 0, "at_most": 1}, "knob must be in [0, 1], got 1.5."),
        (math.nan, {}, "knob must be a number, got nan."),
        (math.nan, {"above": 0}, "knob must be > 0, got nan."),
        (math.nan, {"finite": False}, "knob must be a number, got nan."),
        (math.inf, {}, "knob must be finite, got inf."),
        (math.inf, {"at_least": 0}, "knob must be >= 0 and finite, got inf."),
        (-math.inf, {"at_least": 0, "finite": False}, "knob must be >= 0 and finite, got -inf."),
        (-1, {"at_least": 1}, "knob must be >= 1, got -1."),
        (10**9, {"at_most": 5}, "knob must be <= 5, got 1000000000."),
    ],
)
def test_a_number_out_of_its_range_is_refused_in_these_words(
    value: float, limits: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidValueError) as raised:
        check_number("knob", value, **limits)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        (1e-300, {"above": 0}),
        (0.0, {"at_least": 0}),
        (0.999, {"above": 0, "below": 1}),
        (1.0, {"at_least": 0, "at_most": 1}),
        (math.inf, {"above": 0, "finite": False}),
        (-1e300, {}),
        (3, {"at_least": 3}),
    ],
)
def test_a_number_in_its_range_passes(value: float, limits: dict[str, Any]) -> None:
    check_number("knob", value, **limits)


def test_a_word_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(InvalidValueError) as raised:
        check_choice("rows", "all", ("rct", "obs"))
    assert str(raised.value) == "rows must be one of 'rct', 'obs', got 'all'."


def test_a_known_word_passes() -> None:
    check_choice("rows", "obs", ("rct", "obs"))


def test_a_caller_may_name_another_error() -> None:
    with pytest.raises(ShapeError, match="knob must be > 0, got 0"):
        check_number("knob", 0, above=0, error=ShapeError)
    with pytest.raises(ShapeError, match="rows must be one of 'rct', got 3"):
        check_choice("rows", 3, ("rct",), error=ShapeError)


@pytest.mark.parametrize(
    "value", ["3", None, [1.0], np.array([1, 2]), torch.ones(2), torch.ones(0)]
)
def test_what_is_no_number_is_refused_in_words(value: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"knob must be a number, got"):
        check_number("knob", value, above=0)
    with pytest.raises(InvalidValueError, match=r"knob must be a number, got"):
        check_count("knob", value, at_least=1)


def test_a_whole_number_beyond_floats_is_refused_in_words() -> None:
    for check in (check_number, check_count):
        with pytest.raises(InvalidValueError, match="knob must be finite, got a whole number of"):
            check("knob", 10**400, at_least=1)


def test_a_tensor_of_one_number_is_a_number() -> None:
    with pytest.raises(InvalidValueError, match="knob must be > 0, got -1"):
        check_number("knob", torch.tensor(-1.0), above=0)


def test_a_count_is_a_whole_number() -> None:
    check_count("knob", 3, at_least=1)
    with pytest.raises(InvalidValueError, match=r"knob must be a whole number >= 1, got 2\.5"):
        check_count("knob", 2.5, at_least=1)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="knob must be >= 1, got 0"):
        check_count("knob", 0, at_least=1)
    for whole in (np.int64(2), torch.tensor(2)):
        check_count("knob", whole, at_least=1)  # type: ignore[arg-type]
    for broken in (2.0, np.float64(2), torch.tensor(2.0)):
        with pytest.raises(InvalidValueError, match=r"knob must be a whole number >= 1, got"):
            check_count("knob", broken, at_least=1)  # type: ignore[arg-type]


def test_a_seed_is_a_whole_number_of_64_bits() -> None:
    for seed in (0, -(2**63), 2**64 - 1, np.int64(3)):
        check_seed(seed)
        torch.Generator().manual_seed(int(seed))
    for wrong in (1.0, "a", None, 2**64):
        with pytest.raises(InvalidValueError, match="seed must be a whole number of 64 bits, got"):
            check_seed(wrong)


def test_several_values_are_a_tuple_of_one_type() -> None:
    for several in ((1, 2), [3], ()):
        check_several("knobs", several, int)
    with pytest.raises(InvalidValueError, match=r"^knobs must be a tuple, got 0\.5\.$"):
        check_several("knobs", 0.5)
    with pytest.raises(
        InvalidValueError, match=r"^knobs must be a tuple of int, got \(1, 'a'\)\.$"
    ):
        check_several("knobs", (1, "a"), int)
    with pytest.raises(InvalidValueError, match="knobs must be a tuple of str, got 'ab'"):
        check_several("knobs", "ab", str)


ELSEWHERE = torch.device("meta")  # any device but the CPU


def test_checks_are_put_off_where_looking_would_wait() -> None:
    good, bad = torch.tensor(True), torch.tensor(False)
    assert not put_off(bad, "knob must turn.")
    with checks_put_off(torch.device("cpu")):
        assert not putting_off()
    with checks_put_off(ELSEWHERE):
        assert putting_off()
        assert put_off(good, "knob must turn.")
    with (
        pytest.raises(InvalidValueError, match=r"^knob must turn\. \(Seen after the last step"),
        checks_put_off(ELSEWHERE),
    ):
        _turn(good, bad, good)
    assert not putting_off()
    with pytest.raises(KeyError, match="another"), checks_put_off(ELSEWHERE):
        _turn(bad, error=KeyError("another"))


def _turn(*sounds: torch.Tensor, error: Exception | None = None) -> None:
    """Put off some checks, and fail by another error, if there is one."""
    assert all(put_off(sound, "knob must turn.") for sound in sounds)
    assert put_off(torch.tensor(True), "wheel must roll.")
    if error:
        raise error


UNSEEN = LoggedBatch(torch.tensor([0, 1]), *torch.ones(3, 2))
NONE = torch.full((1, 2), torch.nan)


@pytest.mark.parametrize(
    ("check", "match"),
    [
        (lambda: check_amounts("cost", torch.tensor([1.0, -1.0])), "cost must be finite and >= 0"),
        (lambda: check_amounts("cost", torch.tensor([torch.nan])), "cost must be finite and >= 0"),
        (
            lambda: ObservedCost(torch.tensor([-1]), torch.ones(1), torch.ones(1)),
            "observed treatment must be >= 0, got less",
        ),
        (lambda: check_finite(torch.tensor([torch.inf]), "slope"), "slope must be finite, got NaN"),
        (lambda: balance(NONE), "right_hand_side must be finite"),
        (lambda: check_products(torch.tensor([False])), "product must return finite numbers"),
        (lambda: matched_weight(torch.zeros(3)), "some logged person must have received"),
        (lambda: check_every_treatment_seen(UNSEEN, 3, torch.Size([2])), "every treatment must"),
        (
            lambda: conjugate_gradient(
                lambda v: v, torch.ones(1, 2), start=NONE, max_iter=1, rtol=0
            ),
            "start must be finite",
        ),
    ],
)
def test_what_is_put_off_is_refused_in_the_end(check: Callable[[], object], match: str) -> None:
    with pytest.raises(InvalidValueError, match=match), checks_put_off(ELSEWHERE):
        check()


def test_a_part_given_by_name_is_refused_in_these_words() -> None:
    with pytest.raises(InvalidValueError) as raised:
        check_part("knob", "a-name", Mock, "Mock() or MOCKS.make(name)")
    said = "knob must be an instance of Mock, got 'a-name'; Mock() or MOCKS.make(name) makes one."
    assert str(raised.value) == said
    check_part("knob", Mock(), Mock, "Mock()")
