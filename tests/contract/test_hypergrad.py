"""What every registered hypergradient keeps to."""

import copy
import gc
import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import FrozenInstanceError, dataclass, fields, is_dataclass
from functools import cache

import pytest
import torch
from torch import Tensor

import dfl.hypergrad
from dfl.errors import (
    DflError,
    DTypeError,
    InvalidValueError,
    ShapeError,
    UnknownNameError,
    UnsupportedProblemError,
)
from dfl.hypergrad import (
    HYPERGRADIENTS,
    AbstractHypergradient,
    ComposedLoss,
    Hypergradient,
    Loss,
    Outputs,
    Parameters,
)
from tests.hypergrad.problems import Network, Ridge, member, network, ridge
from tests.hypergrad.test_conjugate_gradient import optimum


@dataclass(frozen=True)
class Promises:
    """What a name is held to; a new name needs one record.

    Args:
        short: options for problems of which only a few steps or products are asked.
        exact: options under which it solves the problems of this file to rounding; None
            where it is right to its stated order of error only, which its own tests measure.
        stiff: options for an inner Hessian of 26 parameters that is not well conditioned;
            None where finite differences are no truth for it.
    """

    short: dict[str, object]
    exact: dict[str, object] | None = None
    stiff: dict[str, object] | None = None


PROMISES = {
    "conjugate-gradient": Promises(
        short={"max_iter": 5, "on_failure": "return"}, exact={"rtol": 1e-12}, stiff={"rtol": 1e-10}
    ),
    "exact": Promises(short={"max_size": 64}, exact={"rtol": 1e-12}, stiff={}),
    "gauss-newton": Promises(  # replaces the Hessian by another matrix
        short={"max_iter": 5, "on_failure": "return"}, exact={"rtol": 1e-12, "damping": 0.0}
    ),
    "identity": Promises(short={"scale": 0.5}),
    "neumann": Promises(
        short={"terms": 5, "on_failure": "return"},
        exact={"terms": 300, "rtol": 1e-10},
        stiff={"terms": 2000, "rtol": 1e-3},
    ),
    "nystrom": Promises(
        short={"rank": 4, "curvature": "gauss-newton", "damping": 0.1, "on_failure": "return"},
        exact={"rank": 20, "damping": 1e-13, "rtol": 1e-10},
        stiff={"rank": 26, "damping": 1e-9, "rtol": 1e-3},
    ),
    "truncated": Promises(
        short={"steps": 3, "last": 2},
        exact={"steps": 201, "last": 200},
        stiff={"steps": 1001, "last": 1000},
    ),
    "unrolled": Promises(
        short={"steps": 3}, exact={"steps": 200, "step_size": "stable"}, stiff={"steps": 1000}
    ),
}
NAMES = HYPERGRADIENTS.names()


@pytest.fixture(params=[name for name in NAMES if PROMISES[name].exact is not None])
def exact(request: pytest.FixtureRequest) -> AbstractHypergradient:
    return HYPERGRADIENTS.load(request.param)(**PROMISES[request.param].exact)


@pytest.fixture(params=NAMES)
def short(request: pytest.FixtureRequest) -> AbstractHypergradient:
    return HYPERGRADIENTS.load(request.param)(**PROMISES[request.param].short)


def call(method: AbstractHypergradient, problem: Ridge) -> Hypergradient:
    return method(problem.composed, problem.outer_loss, problem.inner, problem.outer)


def equal(left: Parameters, right: Parameters, *, rtol: float, atol: float) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], rtol=rtol, atol=atol)


@cache
def trained_network() -> tuple[Network, Parameters, Parameters]:
    """Return a network at its inner optimum, and its hypergradient by finite differences."""
    problem = network(sizes=(3, 4, 2), seed=1)
    best = optimum(problem, problem.inner, problem.outer)
    differences, step = {}, 1e-4
    for name, value in problem.outer.items():
        ends = []
        for sign in (1, -1):
            outer = problem.outer | {name: value + sign * step}
            ends.append(problem.outer_loss(optimum(problem, best, outer), outer))
        differences[name] = (ends[0] - ends[1]) / (2 * step)
    return problem, best, differences


# What it computes ----------------------------------------------------------------------------


@pytest.mark.parametrize("members", [None, 1, 4])
def test_it_equals_the_closed_form_of_ridge(
    exact: AbstractHypergradient, members: int | None
) -> None:
    problem = ridge(members)
    found = call(exact, problem)
    equal(found.outer_grad, problem.truth, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(found.outer_value, problem.outer_loss(problem.inner, problem.outer))


def test_where_outer_parameters_sit_in_the_outputs_does_not_matter(
    exact: AbstractHypergradient,
) -> None:
    problem = ridge(2)
    found = exact(
        problem.composed_with_outer_outputs, problem.outer_loss, problem.inner, problem.outer
    )
    equal(found.outer_grad, problem.truth, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", [name for name in NAMES if PROMISES[name].stiff is not None])
def test_it_equals_finite_differences_through_a_network_trained_anew(name: str) -> None:
    problem, best, differences = trained_network()
    method = HYPERGRADIENTS.load(name)(**PROMISES[name].stiff)
    found = method(problem.composed, problem.outer_loss, best, problem.outer)
    equal(found.outer_grad, differences, rtol=2e-3, atol=0)


def test_every_name_promises_something() -> None:
    assert set(NAMES) == PROMISES.keys()


def unequal_members() -> tuple[Ridge, Loss]:
    """Members that converge after 1 and many steps; the outer loss ignores the third."""
    problem = ridge(4)
    rows = problem.features.shape[-2]
    square = torch.linalg.qr(problem.features[0])[0] * rows**0.5
    features = torch.cat([square.unsqueeze(0), problem.features[1:]])
    flat = torch.zeros(1, 5, dtype=torch.float64)
    penalty = torch.cat([flat, problem.outer["log_penalty"][1:]])
    changed = Ridge(
        features,
        problem.targets,
        problem.outer_features,
        problem.outer_targets,
        problem.outer | {"log_penalty": penalty},
    )
    seen = torch.tensor([1.0, 1.0, 0.0, 1.0], dtype=torch.float64)

    def outer_loss(inner: Parameters, outer: Parameters) -> Tensor:
        return changed.outer_loss(inner, outer) * seen

    return changed, outer_loss


def test_members_that_finish_at_different_times_equal_a_loop(
    exact: AbstractHypergradient,
) -> None:
    problem, outer_loss = unequal_members()
    batch = exact(problem.composed, outer_loss, problem.inner, problem.outer)
    assert batch.outer_value.shape == batch.diagnostics.inner_gradient.shape == (4,)
    for index in range(4):
        one = problem.member(index)

        seen = 0.0 if index == 2 else 1.0

        def alone(
            inner: Parameters, outer: Parameters, one: Ridge = one, seen: float = seen
        ) -> Tensor:
            return seen * one.outer_loss(inner, outer)

        found = exact(one.composed, alone, one.inner, one.outer)
        assert found.outer_value.shape == found.diagnostics.residual.shape == ()
        equal(member(batch.outer_grad, index), found.outer_grad, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(batch.outer_value[index], found.outer_value)
        torch.testing.assert_close(
            batch.diagnostics.curvature[index],
            found.diagnostics.curvature,
            equal_nan=True,
        )
    assert not bool(batch.outer_grad["log_penalty"][2].any())


def test_stacked_networks_under_vmap_equal_a_loop(short: AbstractHypergradient) -> None:
    problem = network(3)
    batch = short(problem.composed, problem.outer_loss, problem.inner, problem.outer)
    single = network()
    for index in range(3):
        inner, outer = member(problem.inner, index), member(problem.outer, index)
        found = short(single.composed, single.outer_loss, inner, outer)
        equal(member(batch.outer_grad, index), found.outer_grad, rtol=1e-8, atol=1e-11)
        torch.testing.assert_close(batch.outer_value[index], found.outer_value)
        torch.testing.assert_close(
            batch.diagnostics.residual[index], found.diagnostics.residual, equal_nan=True
        )


def test_it_is_linear_in_the_outer_loss(exact: AbstractHypergradient) -> None:
    problem = ridge()

    def other(inner: Parameters, outer: Parameters) -> Tensor:
        return (inner["head"] * outer["log_penalty"][:2]).sum() + outer["offset"] ** 2

    def both(inner: Parameters, outer: Parameters) -> Tensor:
        return 3 * problem.outer_loss(inner, outer) - 0.5 * other(inner, outer)

    first, second, mix = (
        exact(problem.composed, loss, problem.inner, problem.outer)
        for loss in (problem.outer_loss, other, both)
    )
    expected = {
        name: 3 * value - 0.5 * second.outer_grad[name] for name, value in first.outer_grad.items()
    }
    equal(mix.outer_grad, expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_the_size_of_the_outer_loss_does_not_matter(
    short: AbstractHypergradient, factor: float
) -> None:
    problem = ridge(dtype=torch.float32)
    plain = call(short, problem)
    scaled = short(
        problem.composed,
        lambda inner, outer: factor * problem.outer_loss(inner, outer),
        problem.inner,
        problem.outer,
    )
    shrunk = {name: value / factor for name, value in scaled.outer_grad.items()}
    equal(shrunk, plain.outer_grad, rtol=1e-3, atol=1e-6)


def test_the_order_of_parameters_does_not_matter(short: AbstractHypergradient) -> None:
    problem = network(2)
    plain = short(problem.composed, problem.outer_loss, problem.inner, problem.outer)
    turned = short(
        problem.composed,
        problem.outer_loss,
        dict(reversed(problem.inner.items())),
        dict(reversed(problem.outer.items())),
    )
    assert list(turned.outer_grad) == list(reversed(problem.outer))
    equal(turned.outer_grad, plain.outer_grad, rtol=1e-7, atol=1e-11)


def test_parameters_that_no_loss_uses_change_nothing(exact: AbstractHypergradient) -> None:
    problem = ridge(2)
    inner = problem.inner | {"idle": torch.ones(2, 3, 2, dtype=torch.float64)}
    outer = problem.outer | {"idle": torch.ones(2, 4, dtype=torch.float64)}
    found = exact(problem.composed, problem.outer_loss, inner, outer)
    assert torch.equal(found.outer_grad.pop("idle"), torch.zeros(2, 4, dtype=torch.float64))
    equal(found.outer_grad, problem.truth, rtol=1e-9, atol=1e-11)


def test_members_may_share_outer_parameters_and_one_outer_loss(
    exact: AbstractHypergradient,
) -> None:
    """A shared parameter receives the sum; a scalar outer loss adds the members up."""
    problem = ridge(3)
    penalty = problem.outer["log_penalty"][0]
    spread = problem.outer | {"log_penalty": penalty.expand(3, 5)}
    alike = Ridge(
        problem.features,
        problem.targets,
        problem.outer_features,
        problem.outer_targets,
        spread,
    )
    shared = problem.outer | {"log_penalty": penalty}
    found = exact(
        alike.composed,
        lambda inner, outer: problem.outer_loss(inner, outer).sum(),
        alike.inner,
        shared,
    )
    assert found.outer_value.shape == ()
    torch.testing.assert_close(
        found.outer_grad["log_penalty"], alike.truth["log_penalty"].sum(0), rtol=1e-9, atol=1e-11
    )


# How it behaves ------------------------------------------------------------------------------


def test_dtype_and_device_are_kept(
    short: AbstractHypergradient, dtype: torch.dtype, device: torch.device
) -> None:
    problem = ridge(2, dtype=dtype, device=device)
    found = call(short, problem)
    results = [
        *found.outer_grad.values(),
        found.outer_value,
        found.diagnostics.residual,
        found.diagnostics.curvature,
        found.diagnostics.inner_gradient,
    ]
    assert {value.dtype for value in results} == {dtype}
    assert {value.device.type for value in results} == {device.type}
    expected = call(short, ridge(2)).outer_grad
    cast = {name: value.double().cpu() for name, value in found.outer_grad.items()}
    equal(cast, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("tracked", [False, True])
def test_inputs_are_not_touched(short: AbstractHypergradient, tracked: bool) -> None:
    problem = network(2)
    inner = {name: value.clone().requires_grad_(tracked) for name, value in problem.inner.items()}
    outer = {name: value.clone().requires_grad_(tracked) for name, value in problem.outer.items()}
    given = [*inner.values(), *outer.values()]
    before = [value.detach().clone() for value in given]
    versions = [value._version for value in given]
    keys = (list(inner), list(outer))
    short(problem.composed, problem.outer_loss, inner, outer)
    assert keys == (list(inner), list(outer))
    for value, copied, version in zip(given, before, versions, strict=True):
        assert torch.equal(value.detach(), copied)
        assert value._version == version
        assert value.grad is None
        assert value.requires_grad is tracked


def test_it_works_without_gradients_switched_on(short: AbstractHypergradient) -> None:
    problem = ridge(2)
    with torch.no_grad():
        found = call(short, problem)
        assert not torch.is_grad_enabled()
    equal(found.outer_grad, call(short, problem).outer_grad, rtol=0, atol=0)


def test_it_works_in_inference_mode_also_on_parameters_made_there(
    short: AbstractHypergradient,
) -> None:
    problem = ridge(2)
    expected = call(short, problem).outer_grad
    with torch.inference_mode():
        found = call(short, problem)
        made_here = [{k: v.clone() for k, v in p.items()} for p in (problem.inner, problem.outer)]
        assert all(value.is_inference() for value in made_here[0].values())
        other = short(problem.composed, problem.outer_loss, *made_here)
        assert torch.is_inference_mode_enabled()
    equal(found.outer_grad, expected, rtol=0, atol=0)
    equal(other.outer_grad, expected, rtol=0, atol=0)
    for value in found.outer_grad.values():  # may be used for training afterwards
        assert not value.is_inference()


def test_data_made_in_inference_mode_are_refused_in_words(short: AbstractHypergradient) -> None:
    with torch.inference_mode():
        problem = ridge(2)
        with pytest.raises(UnsupportedProblemError, match=r"were made under torch.inference_mode"):
            call(short, problem)


def test_autocast_makes_it_no_less_exact(short: AbstractHypergradient) -> None:
    problem = ridge(2, dtype=torch.float32)
    given = problem.composed, problem.outer_loss, problem.inner, problem.outer
    expected = short(*given)
    with torch.autocast("cpu", torch.bfloat16):
        found = short(*given)
        assert torch.is_autocast_enabled("cpu")
    equal(found.outer_grad, expected.outer_grad, rtol=0, atol=0)
    torch.testing.assert_close(found.outer_value, expected.outer_value, rtol=0, atol=0)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


AMBIENT: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "another device": lambda: torch.device("meta"),
    "wide numbers": lambda: default_dtype(torch.float64),
    "narrow numbers": lambda: default_dtype(torch.float16),
    "saved tensors elsewhere": torch.autograd.graph.save_on_cpu,
}


@pytest.mark.parametrize("ambient", AMBIENT)
def test_defaults_of_torch_do_not_matter(short: AbstractHypergradient, ambient: str) -> None:
    problem = ridge(2, dtype=torch.float32)
    given = problem.composed, problem.outer_loss, problem.inner, problem.outer
    expected = short(*given)
    with AMBIENT[ambient]():
        found = short(*given)
    equal(found.outer_grad, expected.outer_grad, rtol=0, atol=0)
    torch.testing.assert_close(
        found.diagnostics.residual, expected.diagnostics.residual, equal_nan=True
    )


def test_results_share_no_memory_with_parameters_or_each_other(
    short: AbstractHypergradient,
) -> None:
    outer = {name: torch.tensor(value) for name, value in (("b", 2.0), ("c", 3.0))}

    def direct(inner: Parameters, outer: Parameters) -> Tensor:
        return outer["b"] + outer["c"]  # autograd gives both the same slope

    found = short(quadratic(), direct, INNER, outer)
    found.outer_grad["b"].mul_(7)
    assert float(found.outer_grad["c"]) == 1
    found = short(quadratic(), lambda inner, outer: outer["b"], INNER, outer)
    found.outer_grad["b"].mul_(7)
    found.outer_value.mul_(7)
    assert float(outer["b"]) == 2


def test_a_loss_that_relies_on_autocast_is_refused_in_words(short: AbstractHypergradient) -> None:
    rows = torch.ones(3, 2, dtype=torch.bfloat16)

    def loss(inner: Parameters, outer: Parameters) -> Tensor:
        return ((rows @ inner["a"].unsqueeze(1)) ** 2).sum() + outer["b"].sum()

    inner_loss = ComposedLoss(
        lambda inner, outer: rows @ inner["a"].unsqueeze(1), lambda out, outer: (out**2).sum()
    )
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(DTypeError, match=r"rely on torch.autocast, .* convert with .to"),
    ):
        short(inner_loss, loss, INNER, OUTER)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_taken(short: AbstractHypergradient, dtype: torch.dtype) -> None:
    problem = ridge(dtype=torch.float32)
    tensors = (
        problem.features,
        problem.targets,
        problem.outer_features,
        problem.outer_targets,
    )
    half = Ridge(
        *(value.to(dtype) for value in tensors),
        {name: value.to(dtype) for name, value in problem.outer.items()},
    )
    inner = {name: value.to(dtype) for name, value in problem.inner.items()}
    found = short(half.composed, half.outer_loss, inner, half.outer).outer_grad
    assert {value.dtype for value in found.values()} == {dtype}
    close = {name: value.float() for name, value in found.items()}
    equal(close, call(short, problem).outer_grad, rtol=0.1, atol=0.02)


def test_what_a_loss_does_to_its_dicts_is_forgotten(short: AbstractHypergradient) -> None:
    problem = ridge()

    def outputs(inner: Parameters, outer: Parameters) -> Outputs:
        found = problem.composed.outputs(inner, outer)
        inner.clear()
        return found

    def criterion(found: Outputs, outer: Parameters) -> Tensor:
        value = problem.composed.criterion(found, outer)
        outer.clear()
        return value

    def outer_loss(inner: Parameters, outer: Parameters) -> Tensor:
        value = problem.outer_loss(inner, outer)
        inner.clear()
        outer.clear()
        return value

    inner, outer = problem.inner, problem.outer
    found = short(ComposedLoss(outputs, criterion), outer_loss, inner, outer)
    equal(found.outer_grad, call(short, problem).outer_grad, rtol=0, atol=0)
    assert inner.keys() == problem.inner.keys()


def test_inner_and_outer_may_be_the_same_tensor(short: AbstractHypergradient) -> None:
    shared = torch.tensor([1.0, 2.0])
    apart = short(quadratic(), plain, {"a": shared.clone()}, {"b": shared.clone()})
    found = short(quadratic(), plain, {"a": shared}, {"b": shared})
    equal(found.outer_grad, apart.outer_grad, rtol=0, atol=0)


def test_it_is_deterministic_and_leaves_the_random_state_alone(
    short: AbstractHypergradient,
) -> None:
    problem = network(2)
    state = torch.get_rng_state()
    calls = [
        short(problem.composed, problem.outer_loss, problem.inner, problem.outer) for _ in range(2)
    ]
    assert torch.equal(torch.get_rng_state(), state)
    equal(calls[0].outer_grad, calls[1].outer_grad, rtol=0, atol=0)


def tensors_alive() -> int:
    return sum(issubclass(type(each), Tensor) for each in gc.get_objects())


def test_no_graph_outlives_the_call(short: AbstractHypergradient) -> None:
    problem = network(2)
    short(problem.composed, problem.outer_loss, problem.inner, problem.outer)
    gc.collect()
    gc.disable()  # what only the collector could free counts as leaked
    try:
        before = tensors_alive()
        for _ in range(3):
            short(problem.composed, problem.outer_loss, problem.inner, problem.outer)
        after = tensors_alive()
    finally:
        gc.enable()
    assert after == before


def test_second_order_is_refused_and_never_wrong(short: AbstractHypergradient) -> None:
    problem = ridge()
    outer = {name: value.clone().requires_grad_() for name, value in problem.outer.items()}
    found = short(problem.composed, problem.outer_loss, problem.inner, outer)
    assert not found.outer_value.requires_grad
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.autograd.grad(found.outer_grad["log_penalty"].sum(), outer["log_penalty"])

    def through(log_penalty: Tensor) -> Tensor:
        changed = problem.outer | {"log_penalty": log_penalty}
        return (
            short(problem.composed, problem.outer_loss, problem.inner, changed)
            .outer_grad["log_penalty"]
            .sum()
        )

    with pytest.raises(UnsupportedProblemError, match="itself has no derivative"):
        torch.func.grad(through)(problem.outer["log_penalty"])
    with pytest.raises(UnsupportedProblemError, match="stack problems along a leading axis"):
        torch.func.vmap(through)(problem.outer["log_penalty"].expand(2, -1))


def test_it_is_frozen_printable_and_picklable(short: AbstractHypergradient) -> None:
    assert is_dataclass(short)
    names = [field.name for field in fields(short)]
    with pytest.raises(FrozenInstanceError):
        setattr(short, names[0], 1)
    assert all(f"{name}=" in repr(short) for name in names)
    for copied in (pickle.loads(pickle.dumps(short)), copy.deepcopy(short)):
        assert repr(copied) == repr(short)
    assert isinstance(short.needs_optimum, bool)


@pytest.mark.parametrize("name", NAMES)
def test_options_are_keyword_only_with_defaults(name: str) -> None:
    kind = HYPERGRADIENTS.load(name)
    kind()
    with pytest.raises(TypeError, match="positional argument"):
        kind(5)  # type: ignore[call-arg]


# What it refuses -----------------------------------------------------------------------------


def quadratic(change: Callable[[Tensor], Tensor] = lambda value: value) -> ComposedLoss:
    return ComposedLoss(
        lambda inner, outer: inner["a"] - outer["b"],
        lambda found, outer: change((found**2).sum()),
    )


def plain(inner: Parameters, outer: Parameters) -> Tensor:
    return (inner["a"] ** 2).sum()


INNER, OUTER = {"a": torch.ones(2)}, {"b": torch.zeros(2)}


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"inner": {}}, InvalidValueError, "inner must hold at least one number"),
        ({"outer": {}}, InvalidValueError, "outer must hold at least one number"),
        ({"inner": {"a": torch.ones(2).int()}}, DTypeError, r"inner\['a'\] must be floating"),
        (
            {"inner": INNER | {"c": torch.ones(2).double()}},
            DTypeError,
            "inner tensors must share one dtype and device",
        ),
        (
            {"inner_loss": quadratic(lambda value: value.expand(3, 1))},
            ShapeError,
            r"inner_loss must return a scalar .* got \(3, 1\)",
        ),
        (
            {"inner_loss": quadratic(lambda value: value.expand(3))},
            ShapeError,
            r"each of 3 members, so inner\['a'\] must be \(3, ...\), got \(2,\)",
        ),
        (
            {"inner_loss": quadratic(lambda value: value * torch.nan)},
            InvalidValueError,
            "the value of inner_loss must be finite",
        ),
        (
            {"outer_loss": lambda inner, outer: inner["a"].sum() * torch.inf},
            InvalidValueError,
            "the value of outer_loss must be finite",
        ),
        (
            {"outer_loss": lambda inner, outer: inner["a"]},
            ShapeError,
            "outer_loss must return a scalar or one value per member, got 2 values where",
        ),
        (
            {
                "outer_loss": lambda inner, outer: (
                    outer["b"].abs().sqrt().sum() * plain(inner, outer)
                )
            },
            InvalidValueError,
            r"the hypergradient of outer\['b'\] must be finite",
        ),
        ({"inner": [torch.ones(2)]}, InvalidValueError, "inner must be a dict .* got list"),
        ({"outer": {"b": 0.0}}, InvalidValueError, r"outer\['b'\] must be a tensor, got float"),
        ({"inner": {"a": torch.ones(2) * 1j}}, DTypeError, r"inner\['a'\] must be floating"),
        (
            {"inner": {"a": torch.ones(2).to_sparse()}},
            UnsupportedProblemError,
            r"inner\['a'\] must hold its numbers densely, got torch.sparse_coo",
        ),
        (
            {"outer": {"b": torch.ones(2, device="meta")}},
            UnsupportedProblemError,
            r"outer\['b'\] must hold its numbers densely, got the device meta",
        ),
        ({"outer_loss": 3.0}, InvalidValueError, "outer_loss must be a function .* got float"),
        (
            {"outer_loss": lambda inner, outer: plain(inner, outer) * torch.tensor(1j)},
            DTypeError,
            "outer_loss must return a real number, got torch.complex64",
        ),
        (
            {"outer_loss": lambda inner, outer: plain(inner, outer).detach()},
            InvalidValueError,
            "outer_loss must depend on inner or outer, got a value without a derivative",
        ),
        (
            {"outer_loss": lambda inner, outer: (inner["a"] > 0).sum()},
            InvalidValueError,
            "outer_loss must depend on inner or outer, got a value without a derivative",
        ),
        (
            {
                "inner_loss": ComposedLoss(
                    lambda inner, outer: inner["a"] - OUTER["b"],
                    lambda found, outer: (found**2).sum(),
                )
            },
            InvalidValueError,
            "inner_loss or outer_loss must depend on outer, but uses none of 'b'",
        ),
        (
            {
                "inner_loss": ComposedLoss(
                    lambda inner, outer: inner["a"].detach() - outer["b"],
                    lambda found, outer: (found**2).sum(),
                ),
                "outer_loss": lambda inner, outer: plain(inner, outer) + outer["b"].sum(),
            },
            InvalidValueError,
            "inner_loss must depend on inner, but uses none of 'a'",
        ),
        (
            {"outer_loss": lambda inner, outer: (outer["b"].add_(1) * inner["a"]).sum()},
            UnsupportedProblemError,
            "a loss must change nothing, but it writes into its parameters",
        ),
        (
            {
                "inner_loss": ComposedLoss(
                    lambda inner, outer: inner["a"].mul_(2) - outer["b"],
                    lambda found, outer: (found**2).sum(),
                )
            },
            UnsupportedProblemError,
            "a loss must change nothing, but it writes into its parameters",
        ),
        (
            {"outer_loss": lambda inner, outer: 0.0},
            InvalidValueError,
            "outer_loss must return a tensor, got float",
        ),
    ],
)
def test_bad_input_is_refused(
    short: AbstractHypergradient,
    changes: dict[str, object],
    error: type[DflError],
    match: str,
) -> None:
    good = {"inner_loss": quadratic(), "outer_loss": plain, "inner": INNER, "outer": OUTER}
    with pytest.raises(error, match=match):
        short(**(good | changes))  # type: ignore[arg-type]


# The table -----------------------------------------------------------------------------------


def test_the_table_holds_every_hypergradient_of_the_package() -> None:
    found = set()
    for module in pkgutil.walk_packages(dfl.hypergrad.__path__, "dfl.hypergrad."):
        for _, member_ in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(member_, AbstractHypergradient) and not inspect.isabstract(member_):
                found.add(member_)
    assert found == {HYPERGRADIENTS.load(name) for name in NAMES}
    assert {kind.__name__ for kind in found} <= set(dfl.hypergrad.__all__)


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(
        UnknownNameError,
        match=r"'gaus-newton' .*\. Did you mean 'gauss-newton'\? Known: conjugate-gradient, exact",
    ):
        HYPERGRADIENTS.load("gaus-newton")
