import math
from typing import Any

import pytest
import torch

from dfl.checks import check_choice, check_count, check_number
from dfl.errors import InvalidValueError, ShapeError


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


@pytest.mark.parametrize("value", ["3", None, [1.0]])
def test_what_is_no_number_is_refused_in_words(value: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"knob must be a number, got"):
        check_number("knob", value, above=0)


def test_a_tensor_of_one_number_is_a_number() -> None:
    with pytest.raises(InvalidValueError, match="knob must be > 0, got -1"):
        check_number("knob", torch.tensor(-1.0), above=0)  # type: ignore[arg-type]


def test_a_count_is_a_whole_number() -> None:
    check_count("knob", 3, at_least=1)
    with pytest.raises(InvalidValueError, match=r"knob must be a whole number >= 1, got 2\.5"):
        check_count("knob", 2.5, at_least=1)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="knob must be >= 1, got 0"):
        check_count("knob", 0, at_least=1)
