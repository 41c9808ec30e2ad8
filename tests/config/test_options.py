from pathlib import Path
from typing import Any

import pytest

from dfl.config.options import METHOD, options_of, plain
from dfl.errors import ConfigError, UnknownNameError
from dfl.layers import Price, Softmax, Softness
from dfl.methods import BiDfcl, Training
from dfl.models import MLP
from tests.config.parts import Flat, Loose, Source


def test_options_are_those_of_the_constructor_in_order() -> None:
    assert list(options_of(Softmax)) == [
        "softness",
        "price",
        "multiplier_gradient",
    ]
    assert list(options_of(Training))[:2] == ["epochs", "batch_size"]


def test_defaults_come_from_signature_and_factories() -> None:
    options = options_of(BiDfcl)
    assert options["held_out"].default == BiDfcl().held_out
    assert options["network"].default == MLP()


def test_an_option_knows_which_part_it_takes() -> None:
    sections = {
        name: option.part and option.part.section for name, option in options_of(BiDfcl).items()
    }
    assert sections["loss"] == "loss"
    assert sections["hypergrad"] == "hypergrad"
    assert sections["network"] == "network"
    assert sections["training"] == "training"
    assert sections["budgets"] is None
    assert sections["held_out"] is None
    budgets = options_of(BiDfcl)["budgets"].part
    assert budgets is not None
    assert budgets.many
    solver = options_of(Price)["solver"].part
    assert solver is not None
    assert solver.optional
    assert solver.section is None


@pytest.mark.parametrize(
    ("option", "given", "kept"),
    [
        ("epochs", 3, 3),
        ("learning_rate", 1, 1.0),
        ("learning_rate", 0.5, 0.5),
        ("weight_decay", [0.1, 1], (0.1, 1.0)),
    ],
)
def test_plain_values_become_what_the_constructor_takes(
    option: str, given: object, kept: object
) -> None:
    checked = options_of(Training)[option].check(given, "training")
    assert checked == kept
    assert type(checked) is type(kept)


@pytest.mark.parametrize(
    ("cls", "option", "given", "message"),
    [
        (Training, "epochs", "3", "training.epochs: Input should be a valid integer, got '3'"),
        (Training, "epochs", 1.5, "valid integer.*got 1.5"),
        (Training, "epochs", True, "valid integer, got True"),
        (Training, "weight_decay", 0.1, "valid array, got 0.1"),
        (Training, "weight_decay", ["a"], "valid number"),
        (Training, "epochs", {1, 2}, "must be plain data"),
        (Softness, "scale", "relativ", "should be 'relative' or 'absolute', got 'relativ'"),
        (Source, "call", 3, "Input should be callable, got 3"),
        (Source, "tensor", [1.0], "which no configuration can give; use Python"),
    ],
)
def test_a_wrong_type_is_never_converted(
    cls: type, option: str, given: object, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        options_of(cls)[option].check(given, f"training.{option}")


def test_a_constructor_without_named_options_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Loose takes \*args or \*\*kwargs"):
        options_of(Loose)


def test_a_layer_without_a_constructor_has_no_options() -> None:
    assert options_of(Flat) == {}


def test_plain_data() -> None:
    value: Any = {"a": (1, 2.0), "b": Path("x/y"), "c": None}
    assert plain(value, "here") == {"a": [1, 2.0], "b": "x/y", "c": None}
    with pytest.raises(ConfigError, match="here is a object, which no configuration can hold"):
        plain(object(), "here")


def test_a_member_tells_its_name() -> None:
    assert METHOD.name_of(BiDfcl()) == "bi-dfcl"
    with pytest.raises(UnknownNameError, match=r"parts:Flat is not among the methods"):
        METHOD.name_of(Flat())
