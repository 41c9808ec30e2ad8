import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle, repeat
from typing import final

import pytest
import torch
from torch import Tensor

from dfl.errors import InvalidValueError, ShapeError, UnsupportedProblemError
from dfl.hypergrad import (
    HYPERGRADIENTS,
    AbstractHypergradient,
    BilevelResult,
    BilevelTrainer,
    ConjugateGradient,
    Loss,
    NotAtOptimumWarning,
    Parameters,
    Unrolled,
    several_hypergradients,
    warn_unless_optimal,
)
from tests.contract.test_hypergrad import PROMISES
from tests.hypergrad.problems import member, network, ridge

GOAL = torch.tensor([3.0, -1.0])


def inner_loss(inner: Parameters, outer: Parameters) -> Tensor:
    """Optimum at ``a = b``."""
    return ((inner["a"] - outer["b"]) ** 2 * torch.tensor([1.0, 2.0])).sum()


def outer_loss(inner: Parameters, outer: Parameters) -> Tensor:
    return ((inner["a"] - GOAL) ** 2).sum()


def trainer(
    method: AbstractHypergradient | None = None, *, lower: float = 0.2, **options: object
) -> BilevelTrainer:
    return BilevelTrainer(
        hypergradient=method or ConjugateGradient(),
        inner_optimiser=lambda values: torch.optim.SGD(values, lr=lower),
        outer_optimiser=lambda values: torch.optim.SGD(values, lr=0.2),
        **options,  # type: ignore[arg-type]
    )


def fit(run: BilevelTrainer, steps: int) -> BilevelResult:
    start = {"a": torch.tensor([5.0, 5.0])}, {"b": torch.zeros(2)}
    return run.fit(repeat(inner_loss, steps), repeat(outer_loss), *start)


def test_it_finds_the_bilevel_optimum() -> None:
    found = fit(trainer(every=5, warn_above=None), 400)
    torch.testing.assert_close(found.outer["b"], GOAL, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.inner["a"], GOAL, rtol=1e-3, atol=1e-3)
    assert [step.step for step in found.history] == list(range(5, 401, 5))
    assert float(found.history[-1].outer_value) < 1e-4 < float(found.history[0].outer_value)
    assert found.history[0].inner_value.shape == ()
    assert not found.outer["b"].requires_grad


@pytest.mark.parametrize("name", sorted({*PROMISES} - {"gauss-newton"}))
def test_every_hypergradient_lowers_the_outer_loss(name: str) -> None:
    options = PROMISES[name].short | ({"curvature": "hessian"} if name == "nystrom" else {})
    found = fit(trainer(HYPERGRADIENTS.load(name)(**options), every=5, warn_above=None), 100)
    assert float(found.history[-1].outer_value) < 0.01 * float(found.history[0].outer_value)


def test_assumed_steps_bring_the_hypergradient_nearer_to_the_optimum() -> None:
    near, far = (
        fit(trainer(lower=1e-3, assumed_steps=steps, warn_above=None), 1).history[0].diagnostics
        for steps in (20, 0)
    )
    assert float(near.inner_gradient) < 0.1 * float(far.inner_gradient)


def test_a_cold_start_starts_anew_after_every_upper_step() -> None:
    values = [
        [float(step.inner_value) for step in fit(run, 40).history]
        for run in (
            trainer(every=2, warn_above=None),
            trainer(every=2, warm_start=False, warn_above=None),
        )
    ]
    assert values[0][-1] < 0.01 * values[1][-1]


def test_being_far_from_the_optimum_is_said_once_and_not_at_all_on_request() -> None:
    far = trainer(lower=1e-4)
    with pytest.warns(NotAtOptimumWarning, match="inner is no optimum of inner_loss") as said:
        fit(far, 5)
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(trainer(lower=1e-4, warn_above=None), 5)
        fit(trainer(Unrolled(), lower=1e-4), 5)  # needs no optimum
        fit(trainer(every=20), 20)  # solved well enough


def test_nothing_given_is_changed() -> None:
    start = {"a": torch.ones(2, requires_grad=True)}, {"b": torch.zeros(2)}
    trainer(warn_above=None).fit(repeat(inner_loss, 3), cycle([outer_loss]), *start)
    assert torch.equal(start[0]["a"], torch.ones(2))
    assert start[0]["a"].grad is None
    assert torch.equal(start[1]["b"], torch.zeros(2))


def test_in_inference_mode_it_trains_as_elsewhere() -> None:
    expected = fit(trainer(every=2, warn_above=None), 20)
    with torch.inference_mode():
        found = fit(trainer(every=2, warn_above=None), 20)  # start made in inference mode too
    torch.testing.assert_close(found.inner, expected.inner, rtol=0, atol=0)
    torch.testing.assert_close(found.outer, expected.outer, rtol=0, atol=0)
    assert float(found.outer["b"].norm()) > 1
    assert not found.inner["a"].is_inference()


def test_autocast_changes_nothing() -> None:
    expected = fit(trainer(every=2, warn_above=None), 20)
    with torch.autocast("cpu", torch.bfloat16):
        found = fit(trainer(every=2, warn_above=None), 20)
    torch.testing.assert_close(found.outer, expected.outer, rtol=0, atol=0)


def test_lbfgs_solves_the_inner_problem() -> None:
    run = BilevelTrainer(
        hypergradient=ConjugateGradient(),
        inner_optimiser=torch.optim.LBFGS,
        outer_optimiser=lambda values: torch.optim.SGD(values, lr=0.2),
    )
    found = fit(run, 40)
    torch.testing.assert_close(found.outer["b"], GOAL, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.inner["a"], GOAL, rtol=1e-2, atol=1e-2)
    assert max(float(step.diagnostics.inner_gradient) for step in found.history) < 1e-4


@final
class Asking(torch.optim.Optimizer):
    """Needs a closure, and is not LBFGS."""

    def __init__(self, values: list[Tensor]) -> None:
        super().__init__(values, {"lr": 0.2})

    def step(self, closure: Callable[[], float]) -> float:  # type: ignore[override]
        value = closure()
        with torch.no_grad():
            for each in self.param_groups[0]["params"]:
                each -= 0.2 * each.grad
        return value


def test_any_optimiser_that_asks_for_the_loss_is_told_below_and_refused_above() -> None:
    def built(**options: object) -> BilevelTrainer:
        return replace(trainer(every=2, warn_above=None), **options)  # type: ignore[arg-type]

    expected = fit(built(), 20)
    found = fit(built(inner_optimiser=Asking), 20)
    torch.testing.assert_close(found.outer, expected.outer)
    for kind in (Asking, torch.optim.LBFGS):
        with pytest.raises(
            UnsupportedProblemError,
            match=f"outer_optimiser must step by one gradient, got {kind.__name__}, which asks",
        ):
            fit(built(outer_optimiser=kind), 20)


OTHER = [torch.zeros(2)]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            {"hypergradient": "neumann"},
            "must be an instance of AbstractHypergradient, got 'neumann'",
        ),
        (
            {"hypergradient": ConjugateGradient},
            "must be an instance of AbstractHypergradient, got <class",
        ),
        (
            {"inner_optimiser": torch.optim.SGD(OTHER, lr=0.1)},
            "inner_optimiser must be a function that makes an optimiser, got SGD: give lambda",
        ),
        ({"outer_optimiser": "adam"}, "outer_optimiser must be a function .* got str"),
        ({"inner_optimiser": lambda v: v}, r"inner_optimiser must return a torch.optim.* got list"),
        (
            {"outer_optimiser": lambda values: torch.optim.SGD(OTHER, lr=0.1)},
            "outer_optimiser must make an optimiser of the tensors it is given, .* without 'b'",
        ),
    ],
)
def test_parts_of_another_kind_are_refused(options: dict[str, object], match: str) -> None:
    with pytest.raises(InvalidValueError, match=match):
        fit(replace(trainer(), **options), 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("losses", "match"),
    [
        (inner_loss, "inner_losses must be losses one after the other, got function: give itert"),
        (repeat(inner_loss), "inner_losses must come to an end, got itertools.repeat or cycle"),
        (cycle([inner_loss]), "inner_losses must come to an end"),
        ([], "inner_losses must hold at least every = 3 losses, got 0: no upper step"),
        ([inner_loss] * 2, "inner_losses must hold at least every = 3 losses, got 2: no upper"),
        (
            [lambda inner, outer: (inner["a"].detach() ** 2).sum()] * 3,
            "inner_loss must depend on inner, got a value without a derivative",
        ),
        (
            [lambda inner, outer: (inner["a"] - 5).pow(2).sum().sqrt()] * 3,
            r"the gradient of inner_loss in inner\['a'\] must be finite",
        ),
        (
            [lambda inner, outer: inner["a"].sum() * torch.nan] * 3,
            "the value of inner_loss must be finite",
        ),
    ],
)
def test_inner_losses_that_train_nothing_are_refused(losses: object, match: str) -> None:
    start = {"a": torch.tensor([5.0, 5.0])}, {"b": torch.zeros(2)}
    with pytest.raises(InvalidValueError, match=match):
        trainer(every=3).fit(losses, repeat(outer_loss), *start)  # type: ignore[arg-type]


@final
class Clipping(torch.optim.Optimizer):
    """Writes into the gradients it is given, as clipping does."""

    def __init__(self, values: list[Tensor]) -> None:
        super().__init__(values, {"lr": 0.1})

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        with torch.no_grad():
            for each in self.param_groups[0]["params"]:
                each -= each.grad.mul_(0.1)


def test_gradients_that_autograd_shares_between_names_are_given_apart() -> None:
    def sum_loss(inner: Parameters, outer: Parameters) -> Tensor:
        return ((inner["a"] + inner["c"] - outer["b"]) ** 2).sum() + 0.1 * (inner["a"] ** 2).sum()

    start = {"a": torch.ones(2), "c": torch.ones(2)}, {"b": torch.zeros(2)}
    found = [
        replace(trainer(every=2, warn_above=None, lower=0.1), **options)  # type: ignore[arg-type]
        .fit(repeat(sum_loss, 4), repeat(lambda i, o: (i["a"] ** 2).sum()), *start)
        .inner
        for options in ({}, {"inner_optimiser": Clipping})
    ]
    torch.testing.assert_close(found[0], found[1])


def test_a_start_at_the_inner_optimum_is_no_measure_of_being_far() -> None:
    start = {"a": torch.zeros(2)}, {"b": torch.zeros(2)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer(every=20).fit(repeat(inner_loss, 60), repeat(outer_loss), *start)


def test_values_in_the_history_stay_as_they_were() -> None:
    start = {"a": torch.tensor([5.0, 5.0])}, {"b": torch.tensor([1.0, 1.0])}
    found = trainer(warn_above=None).fit(
        repeat(inner_loss, 3), repeat(lambda inner, outer: outer["b"][0]), *start
    )
    assert [round(float(step.outer_value), 4) for step in found.history] == [1.0, 0.8, 0.6]


def test_parameters_that_overflow_are_never_returned() -> None:
    start = {"a": torch.tensor([5.0, 5.0])}, {"b": torch.zeros(2)}
    with pytest.raises(InvalidValueError, match=r"outer\['b'\] after training must be finite"):
        BilevelTrainer(
            hypergradient=ConjugateGradient(),
            inner_optimiser=lambda values: torch.optim.SGD(values, lr=0.2),
            outer_optimiser=lambda values: torch.optim.SGD(values, lr=1e38),
            warn_above=None,
        ).fit(repeat(inner_loss, 1), repeat(outer_loss), *start)


def test_outer_losses_must_last() -> None:
    start = {"a": torch.ones(2)}, {"b": torch.zeros(2)}
    with pytest.raises(InvalidValueError, match="for every upper step, got none at lower step 3"):
        trainer(warn_above=None).fit(repeat(inner_loss, 5), [outer_loss] * 2, *start)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"every": 0}, "every must be >= 1, got 0"),
        ({"assumed_steps": -1}, "assumed_steps must be >= 0, got -1"),
        ({"warn_above": -0.5}, "warn_above must be >= 0, got -0.5"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], match: str) -> None:
    with pytest.raises(InvalidValueError, match=match):
        trainer(**options)  # type: ignore[arg-type]


def test_at_the_optimum_nothing_is_said() -> None:
    problem = ridge()
    found = ConjugateGradient()(
        problem.inner_loss, problem.outer_loss, problem.inner, problem.outer
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_unless_optimal(found.diagnostics, atol=1e-10)
    assert "inner gradient of norm" in found.diagnostics.describe()


def test_elsewhere_it_is_said_on_request_alone() -> None:
    problem = network(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ConjugateGradient(max_iter=2, on_failure="return")(
            problem.composed, problem.outer_loss, problem.inner, problem.outer
        )
    with pytest.warns(NotAtOptimumWarning, match=r"norm .* above 0\.001: inner is no optimum"):
        warn_unless_optimal(found.diagnostics, atol=1e-3)


@pytest.mark.parametrize("name", PROMISES)
def test_several_outer_losses_at_once_equal_a_loop(name: str) -> None:
    method, problem = HYPERGRADIENTS.load(name)(**PROMISES[name].short), network()

    def size(inner: Parameters, outer: Parameters) -> Tensor:
        return (inner["0.weight"] ** 4).sum() + outer["0.bias"] ** 2

    losses: list[Loss] = [problem.outer_loss, size]
    found = several_hypergradients(method, problem.composed, losses, problem.inner, problem.outer)
    assert found.outer_value.shape == (2,)
    for index, loss in enumerate(losses):
        alone = method(problem.composed, loss, problem.inner, problem.outer)
        torch.testing.assert_close(
            member(found.outer_grad, index), alone.outer_grad, rtol=1e-8, atol=1e-11
        )


def test_a_plain_inner_loss_will_do() -> None:
    problem = ridge()
    found = several_hypergradients(
        ConjugateGradient(rtol=1e-12),
        problem.inner_loss,
        [problem.outer_loss] * 2,
        problem.inner,
        problem.outer,
    )
    for row in found.outer_grad["log_penalty"]:
        torch.testing.assert_close(row, problem.truth["log_penalty"])


def test_bad_calls_are_refused() -> None:
    problem = ridge(3)
    call = (problem.inner, problem.outer)
    with pytest.raises(InvalidValueError, match="outer_losses must hold at least one loss"):
        several_hypergradients(ConjugateGradient(), problem.composed, [], *call)
    with pytest.raises(ShapeError, match="inner_loss must return a scalar"):
        several_hypergradients(ConjugateGradient(), problem.composed, [problem.outer_loss], *call)


def test_several_may_come_from_a_generator_and_in_inference_mode() -> None:
    problem = ridge()
    losses = [problem.outer_loss, lambda inner, outer: 2 * problem.outer_loss(inner, outer)]
    call = (problem.inner, problem.outer)
    expected = several_hypergradients(ConjugateGradient(), problem.inner_loss, losses, *call)
    with torch.inference_mode():
        found = several_hypergradients(
            ConjugateGradient(), problem.inner_loss, (loss for loss in losses), *call
        )
    torch.testing.assert_close(found.outer_grad, expected.outer_grad, rtol=0, atol=0)
    with pytest.raises(InvalidValueError, match="inner must be a dict of tensors by name, got lis"):
        several_hypergradients(ConjugateGradient(), problem.inner_loss, losses, [], {})  # type: ignore[arg-type]
