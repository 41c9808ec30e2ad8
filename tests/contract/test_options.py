"""Every option says in words that it was given something of another kind."""

import inspect
from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from dfl.data import Encoding, HybridRecipe, PartSizes
from dfl.data.simulators.coupon import CouponSimulator
from dfl.data.simulators.criteo_like import CriteoLikeSimulator
from dfl.errors import InvalidValueError
from dfl.hypergrad import HYPERGRADIENTS
from dfl.layers import LAYERS
from dfl.losses import LOSSES
from dfl.methods import METHODS, BilevelSettings, Training
from dfl.models import MLP, ArmHeads
from dfl.segments.making import Tabulation
from dfl.solvers import SOLVERS
from dfl.stats import Bootstrap

REGISTRIES = (METHODS, LOSSES, LAYERS, HYPERGRADIENTS, SOLVERS)
ALONE = (
    ArmHeads,
    BilevelSettings,
    Bootstrap,
    CouponSimulator,
    CriteoLikeSimulator,
    Encoding,
    HybridRecipe,
    MLP,
    PartSizes,
    Tabulation,
    Training,
)
WRONG = {Literal: "zzz", int: 128.0, tuple: 0.5}


def kinds(hint: Any) -> set[Any]:
    """Return of what kinds an option may be."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return set().union(*map(kinds, get_args(hint)))
    return {origin or hint}


def options() -> Iterator[Any]:
    known = [one.load(name) for one in REGISTRIES for name in one.names()]
    for cls in dict.fromkeys([*known, *ALONE]):
        if not inspect.isclass(cls):
            continue
        for name, hint in get_type_hints(cls.__init__).items():
            found = kinds(hint) - {type(None)}
            for kind, wrong in WRONG.items():
                if found == {kind}:
                    yield pytest.param(cls, name, wrong, id=f"{cls.__name__}-{name}")


@pytest.mark.parametrize(("cls", "name", "wrong"), [*options()])
def test_an_option_of_another_kind_is_refused_in_words(cls: Any, name: str, wrong: object) -> None:
    with pytest.raises(InvalidValueError, match=r"one of|whole number|must be a tuple"):
        cls(**{name: wrong})
