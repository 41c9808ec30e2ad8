from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dfl.config.dry_run import check_allocation, check_parts
from dfl.config.options import METHOD
from dfl.layers import LAYERS, AbstractLayer, Price, Softmax
from dfl.losses import PrimalPolicy
from dfl.methods import METHODS, BiDfcl, Dfcl
from dfl.solvers import SOLVERS, DualBisection
from tests.config.parts import Flat, Penniless, Shares, Spendthrift, Uphill, Vector


@pytest.mark.parametrize("name", METHODS.names())
def test_the_parts_of_every_method_fit(name: str) -> None:
    checks = check_parts(METHODS.make(name), METHOD)
    assert [one.problem for one in checks] == [None] * len(checks)


def test_every_part_with_a_promise_is_tried_the_innermost_first() -> None:
    tried = [one.where for one in check_parts(BiDfcl(), METHOD)]
    assert tried == ["method.loss.layer", "method.loss", "method.hypergrad"]


@pytest.mark.parametrize("name", SOLVERS.names())
def test_every_solver_allocates(name: str) -> None:
    assert check_allocation(SOLVERS.make(name)).problem is None


def test_a_solver_that_overspends() -> None:
    assert check_allocation(Spendthrift()).problem == "its allocation costs more than the budget"


def rows_of_two(revenue: Tensor) -> Tensor:
    return revenue.softmax(dim=1) * 2


def root_of_nothing(revenue: Tensor) -> Tensor:
    return revenue.softmax(dim=1) + (0 * revenue).sqrt()


@pytest.mark.parametrize(
    ("layer", "problem"),
    [
        (Flat(), "its gradient is zero everywhere"),
        (Shares(make=rows_of_two), "its shares do not add up to 1"),
        (Shares(make=lambda revenue: revenue.softmax(dim=1)[:, :2]), r"have shape \(24, 2\)"),
        (Shares(make=lambda revenue: revenue.detach().softmax(dim=1)), "carries no gradient"),
        (Shares(make=root_of_nothing), "its gradient is not finite"),
        (Penniless(), "it spends as much of a budget of 5 as of one of 20"),
    ],
)
def test_a_layer_that_does_not_fit(layer: AbstractLayer, problem: str) -> None:
    checks = check_parts(Dfcl(loss=PrimalPolicy(layer=layer)), METHOD)
    found = {one.where: one.problem for one in checks}
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(found["method.loss.layer"])


@pytest.mark.parametrize("name", LAYERS.names())
def test_every_layer_heeds_the_budget(name: str) -> None:
    checks = check_parts(Dfcl(loss=PrimalPolicy(layer=LAYERS.make(name))), METHOD)
    assert [one.problem for one in checks] == [None] * len(checks)


def test_a_layer_at_a_given_price_need_not_heed_the_budget() -> None:
    layer = Softmax(price=Price(multiplier=0.5))
    checks = check_parts(Dfcl(loss=PrimalPolicy(layer=layer)), METHOD)
    assert [one.problem for one in checks] == [None] * len(checks)


def test_a_layer_whose_solver_needs_predicted_costs() -> None:
    layer = Dfcl().loss.layer  # type: ignore[attr-defined]
    assert isinstance(layer.price.solver, DualBisection)
    greedy = type(layer)(price=Price(solver=SOLVERS.load("greedy-dual")()))
    checks = check_parts(Dfcl(loss=PrimalPolicy(layer=greedy)), METHOD)
    problems = [one.problem for one in checks if one.problem is not None]
    assert problems
    assert "observed costs" in problems[0]


def test_a_loss_of_the_wrong_shape() -> None:
    (check,) = check_parts(Dfcl(loss=Vector()), METHOD)
    assert check.problem == "its value has shape (24,)"


def test_a_hypergradient_that_points_away() -> None:
    method = replace(BiDfcl(), hypergrad=Uphill())
    problems = {one.where: one.problem for one in check_parts(method, METHOD)}
    assert problems["method.hypergrad"] == "its derivative points away from the optimum"


def test_checks_leave_torchs_generator_alone() -> None:
    before = torch.get_rng_state()
    check_parts(BiDfcl(), METHOD)
    assert torch.equal(torch.get_rng_state(), before)
