"""Calling any argmax: lifting one instance to a batch, checks, and the problems of the tests."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.testing import assert_close

from dfl.errors import DTypeError, InvalidValueError, ShapeError
from dfl.layers import (
    Argmax,
    ImplicitMleDecision,
    InterpolatedDecision,
    PerturbedDecision,
    StraightThroughDecision,
    each_row,
    one_hot_argmax,
)
from dfl.layers.perturbed.argmax import decide_rows, hard_decision, prepare
from dfl.losses import fenchel_young, regret, spo_plus
from tests.layers.problems import GridPath, TopK, all_paths


def values(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def best_one(row: NDArray[np.float64]) -> list[int]:
    return [int(index == row.argmax()) for index in range(len(row))]


def test_a_function_of_one_instance_serves_a_batch(
    dtype: torch.dtype, device: torch.device
) -> None:
    given = values(7, 5).to(device, dtype).requires_grad_()
    found = each_row(best_one)(given)
    assert_close(found, one_hot_argmax(given.detach()))


def test_an_empty_batch_has_no_decisions() -> None:
    assert each_row(best_one)(values(0, 5)).shape == (0, 5)


def test_leading_axes_and_mapped_axes_reach_the_argmax_as_rows() -> None:
    seen = []

    def argmax(rows: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(rows.shape))
        return one_hot_argmax(rows)

    given = values(2, 3, 4)
    assert_close(decide_rows(argmax, given), one_hot_argmax(given))
    mapped = torch.func.vmap(lambda one: hard_decision(argmax, one), in_dims=1)(given)
    assert_close(mapped, one_hot_argmax(given).movedim(1, 0))
    assert seen == [(6, 4), (6, 4)]


def test_a_hard_decision_has_no_gradient() -> None:
    given = values(3, 4).requires_grad_()
    assert not hard_decision(one_hot_argmax, given).requires_grad


@pytest.mark.parametrize("side", [2, 3, 4])
def test_the_path_of_the_examples_is_the_best_of_all(side: int) -> None:
    given, paths = values(50, side * side), all_paths(side)
    found = GridPath(side)(given)
    assert bool((found.sum(dim=1) == 2 * side - 1).all())
    assert_close((given * found).sum(dim=1), (given @ paths.T).amax(dim=1))


def test_the_top_k_of_the_examples_is_the_best_of_all() -> None:
    given = values(50, 6)
    best = given.sort(dim=1, descending=True).values[:, :3].sum(dim=1)
    assert_close((given * TopK(3)(given)).sum(dim=1), best)


# Any argmax, however written ------------------------------------------------------------------

LAYERS: dict[str, Callable[[Argmax], Any]] = {
    "perturbed": lambda argmax: PerturbedDecision(argmax, samples=4),
    "interpolated": InterpolatedDecision,
    "implicit-mle": lambda argmax: ImplicitMleDecision(argmax, seed=0),
    "straight-through": StraightThroughDecision,
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def in_place(rows: torch.Tensor) -> torch.Tensor:
    """Write the decision where the values were."""
    best = rows.argmax(dim=-1, keepdim=True)
    return rows.zero_().scatter_(-1, best, 1.0)


def in_place_row(row: NDArray[np.float64]) -> NDArray[np.float64]:
    best = row.argmax()
    row[:] = 0
    row[best] = 1
    return row


class OneBuffer:
    """Return the same memory each time."""

    def __init__(self) -> None:
        self.kept: dict[tuple[int, ...], torch.Tensor] = {}

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        kept = self.kept.setdefault(tuple(rows.shape), torch.empty_like(rows))
        return kept.copy_(one_hot_argmax(rows))


def one_array() -> Argmax:
    kept = np.zeros(5)

    def solve(row: NDArray[np.float64]) -> NDArray[np.float64]:
        kept[:] = 0
        kept[row.argmax()] = 1
        return kept

    return each_row(solve)


UNTIDY = {
    "in-place": in_place,
    "in-place-row": each_row(in_place_row),
    "one-buffer": OneBuffer(),
    "one-array": one_array(),
}


@pytest.mark.parametrize("untidy", UNTIDY)
def test_an_argmax_may_overwrite_what_it_gets_and_return_the_same_memory(untidy: str) -> None:
    argmax = UNTIDY[untidy]
    predicted, truth = values(4, 5), values(4, 5).flip(0)
    kept = predicted.clone(), truth.clone()
    assert_close(spo_plus(predicted, truth, argmax), spo_plus(predicted, truth, one_hot_argmax))
    assert_close(regret(predicted, truth, argmax), regret(predicted, truth, one_hot_argmax))
    weight = torch.rand(4, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for make in LAYERS.values():
        found = []
        for one in (argmax, one_hot_argmax):
            given = predicted.clone().requires_grad_()
            decision = make(one)(given)
            make(one)(-predicted)  # another call in between
            found.append(
                (decision.detach(), *torch.autograd.grad((decision * weight).sum(), given))
            )
            assert_close(given.detach(), kept[0], rtol=0, atol=0)
        assert_close(found[0], found[1])
    smooth = PerturbedDecision(argmax, samples=4)
    expected = PerturbedDecision(one_hot_argmax, samples=4)
    assert_close(
        fenchel_young(predicted, truth, smooth.maximum),
        fenchel_young(predicted, truth, expected.maximum),
    )
    assert_close((predicted, truth), kept, rtol=0, atol=0)


@every_layer
@pytest.mark.parametrize("where", [(0, 0), (3, 2)])
def test_no_argmax_decides_on_nan(name: str, where: tuple[int, int]) -> None:
    given = values(4, 5)
    given[where] = torch.nan
    with pytest.raises(InvalidValueError, match="values must not be NaN, for no argmax can decide"):
        LAYERS[name](one_hot_argmax)(given)
    with pytest.raises(InvalidValueError, match="values must not be NaN"):
        spo_plus(given, values(4, 5), one_hot_argmax)
    with pytest.raises(InvalidValueError, match="truth must be finite"):
        regret(values(4, 5), given, one_hot_argmax)


@every_layer
def test_a_gradient_that_is_nan_stays_nan(name: str) -> None:
    given = values(4, 5).requires_grad_()
    slope = torch.ones(4, 5, dtype=torch.float64)
    slope[1, 1] = torch.nan
    (found,) = torch.autograd.grad(LAYERS[name](one_hot_argmax)(given), given, slope)
    assert bool(found[1].isnan().any())


@every_layer
@pytest.mark.parametrize("fill", [None, -1e3, -1e9, -torch.inf])
def test_masks_leave_the_gradient_of_an_argmax_that_masks_by_itself(
    name: str, fill: float | None
) -> None:
    given, weight = values(64, 5), values(64, 5).flip(0)
    masked = torch.rand(64, 5, generator=torch.Generator().manual_seed(1)) < 0.3
    masked[:, 0] = False

    def itself(rows: torch.Tensor) -> torch.Tensor:
        return one_hot_argmax(rows.masked_fill(masked.repeat(len(rows) // 64, 1), -torch.inf))

    found = []
    for argmax, filled in ((itself, None), (one_hot_argmax, fill)):
        kept = given if filled is None else given.masked_fill(masked, filled)
        kept = kept.clone().requires_grad_()
        allowed = ~masked if argmax is one_hot_argmax and fill is None else None
        layer = LAYERS[name](argmax)
        decision = layer(kept) if allowed is None else layer(kept, allowed)
        (slope,) = torch.autograd.grad((decision * weight).sum(), kept)
        found.append((decision.detach(), slope.masked_fill(masked, 0)))
    assert_close(found[1][0], found[0][0])
    size = float(found[0][1].abs().max())
    assert 0.7 * size < float(found[1][1].abs().max()) < 1.4 * size


@every_layer
def test_what_is_not_allowed_is_not_chosen_and_has_no_gradient(name: str) -> None:
    given = values(64, 5)
    allowed = torch.rand(64, 5, generator=torch.Generator().manual_seed(1)) < 0.6
    allowed[:, 0] = True
    found = []
    for other in (0.0, 1e9, -torch.inf):
        kept = given.masked_fill(~allowed, other).requires_grad_()
        decision = LAYERS[name](one_hot_argmax)(kept, allowed)
        (slope,) = torch.autograd.grad((decision * values(64, 5).flip(0)).sum(), kept)
        found.append((decision.detach(), slope))
        assert not bool(decision[~allowed].any())
        assert not bool(slope[~allowed].any())
    assert_close(found[1], found[0])
    assert_close(found[2], found[0])
    assert_close(found[0][0].sum(dim=1), torch.ones(64, dtype=torch.float64))


def test_the_maximum_is_over_what_is_allowed() -> None:
    given = values(50, 5)
    layer, allowed = PerturbedDecision(one_hot_argmax, samples=6), torch.arange(5) < 3
    alone = PerturbedDecision(lambda rows: one_hot_argmax(rows), samples=6).maximum(given, allowed)
    assert_close(alone, layer.maximum(given.masked_fill(~allowed, 1e9), allowed))
    best = given.masked_fill(~allowed, -torch.inf).amax(dim=1)
    assert bool((alone > best - 1e-9).all())


def test_an_argmax_of_several_entries_keeps_to_what_is_allowed() -> None:
    given, allowed = values(50, 6), torch.ones(50, 6, dtype=torch.bool)
    allowed[:, 4:] = False
    decision = InterpolatedDecision(TopK(3))(given + 100 * (~allowed).double(), allowed)
    assert_close(decision[:, :4].sum(dim=1), torch.full((50,), 3.0, dtype=torch.float64))


@pytest.mark.parametrize(
    ("allowed", "error", "message"),
    [
        (torch.ones(4, 5), DTypeError, r"allowed must be bool, got torch\.float32"),
        (torch.ones(3, 5, dtype=torch.bool), ShapeError, r"allowed must be \(4, 5\), got \(3, 5\)"),
        (torch.zeros(5, dtype=torch.bool), InvalidValueError, r"an entry, got 4 row\(s\) without"),
    ],
)
def test_masks_that_are_none_are_refused(
    allowed: torch.Tensor, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        prepare(values(4, 5), allowed)


@every_layer
@pytest.mark.parametrize(
    ("argmax", "error", "message"),
    [
        (lambda rows: one_hot_argmax(rows).numpy(), DTypeError, "argmax must return a tensor"),
        (lambda rows: None, DTypeError, "of decisions, got NoneType; return one, or wrap"),
        (each_row(lambda row: None), ShapeError, "solve must return 5 numbers, got array"),
        (each_row(lambda row: row[:2]), ShapeError, "solve must return 5 numbers, got array"),
        (each_row(lambda row: ["a"] * 5), ShapeError, "solve must return 5 numbers, got array"),
        (lambda rows: rows[:, :2], ShapeError, r"of its values, \(\d+, 5\), got"),
    ],
)
def test_what_is_no_decision_is_refused_by_the_name_of_who_made_it(
    name: str, argmax: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        LAYERS[name](argmax)(values(4, 5))


@every_layer
def test_values_that_are_none_are_refused(name: str) -> None:
    layer = LAYERS[name](one_hot_argmax)
    with pytest.raises(DTypeError, match=r"values must be floating point, got torch\.int64"):
        layer(torch.ones(3, 4, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"values must be \(..., D\), got a scalar"):
        layer(torch.tensor(1.0))
    assert layer(torch.zeros(0, 4)).shape == (0, 4)


@every_layer
@pytest.mark.parametrize("argmax", [one_hot_argmax, each_row(best_one)])
def test_short_floats_are_decided_on_and_upcast_by_autocast(name: str, argmax: Argmax) -> None:
    short = values(4, 5).bfloat16()
    layer = LAYERS[name](argmax)
    assert layer(short).dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(short)
    assert_close(found, layer(short.float()))


def test_spo_plus_says_which_of_its_inputs_is_wrong() -> None:
    with pytest.raises(DTypeError, match=r"truth must be floating point, got torch\.int64"):
        spo_plus(values(3, 4), values(3, 4).long(), one_hot_argmax)
    with pytest.raises(DTypeError, match=r"values must be floating point, got torch\.int64"):
        regret(values(3, 4).long(), values(3, 4), one_hot_argmax)


@pytest.mark.parametrize(
    "layer",
    [ImplicitMleDecision, InterpolatedDecision, PerturbedDecision, StraightThroughDecision],
)
def test_what_cannot_decide_is_refused_where_the_layer_is_made(layer: Callable[[Any], Any]) -> None:
    with pytest.raises(InvalidValueError, match="argmax must be a function from values to"):
        layer(3)
    with pytest.raises(DTypeError, match="values must be a tensor, got list"):
        layer(one_hot_argmax)([[1.0, 2.0]])
