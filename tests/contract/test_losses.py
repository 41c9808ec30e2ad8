"""What every registered decision loss promises."""

import inspect
import pickle
import pkgutil
from contextlib import suppress
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import dfl.losses
from dfl.budget import Budget
from dfl.errors import DTypeError, InvalidValueError, ShapeError
from dfl.layers import Price, Softmax
from dfl.losses import LOSSES, AbstractDecisionLoss, LoggedBatch, PrimalPolicy, SpoPlus

NAMES = LOSSES.names()
ROWS, ARMS, BUDGET = 200, 4, 80.0
FIXED = Price(multiplier=1.0)


def make(name: str) -> AbstractDecisionLoss:
    """Build a loss with its defaults."""
    loss = LOSSES.make(name)
    assert isinstance(loss, AbstractDecisionLoss)
    return loss


def problem(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, LoggedBatch]:
    """People whose predictions are right but for noise, with one logged outcome each."""
    generator = torch.Generator().manual_seed(7)
    revenue = torch.rand(ROWS, ARMS, generator=generator, dtype=dtype).cumsum(dim=1)
    cost = torch.rand(ROWS, ARMS, generator=generator, dtype=dtype).cumsum(dim=1) / 2
    treatment = torch.arange(ROWS) % ARMS
    seen = (column.gather(1, treatment[:, None]).squeeze(1) for column in (revenue, cost))
    return revenue, cost, LoggedBatch(treatment, *seen, torch.full((ROWS,), 4.0, dtype=dtype))


def changed(batch: LoggedBatch, rows: Tensor) -> LoggedBatch:
    """Return some rows of a batch, or its rows in another order."""
    return LoggedBatch(
        batch.treatment[rows], batch.revenue[rows], batch.cost[rows], batch.weight[rows]
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_keeps_dtype_and_device_and_has_a_gradient(
    name: str, dtype: torch.dtype, device: torch.device
) -> None:
    revenue, cost, batch = problem(dtype)
    noise = 1 + 0.1 * torch.rand(revenue.shape, generator=torch.Generator().manual_seed(8)).to(
        dtype
    )
    inputs = [(noise * column).to(device).requires_grad_() for column in (revenue, cost)]
    columns = (batch.treatment, batch.revenue, batch.cost, batch.weight)
    loss = make(name)(*inputs, LoggedBatch(*(one.to(device) for one in columns)), BUDGET)
    assert loss.shape == ()
    assert loss.dtype == dtype
    assert loss.device.type == device.type
    for slope in torch.autograd.grad(loss, inputs):
        assert bool(slope.isfinite().all())
        assert float(slope.abs().max()) > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_people_does_not_matter(name: str) -> None:
    revenue, cost, batch = problem()
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(0))
    shuffled = make(name)(revenue[order], cost[order], changed(batch, order), BUDGET)
    assert_close(shuffled, make(name)(revenue, cost, batch, BUDGET))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_loss_is_in_currency(name: str, factor: float) -> None:
    revenue, cost, batch = problem()
    money = LoggedBatch(batch.treatment, factor * batch.revenue, factor * batch.cost, batch.weight)
    scaled = make(name)(factor * revenue, factor * cost, money, factor * BUDGET)
    assert_close(scaled, factor * make(name)(revenue, cost, batch, BUDGET))


@pytest.mark.parametrize("name", NAMES)
def test_leading_axes_are_separate_batches(name: str) -> None:
    revenue, cost, batch = problem()
    back = torch.arange(ROWS).flip(0)
    columns = (batch.treatment, batch.revenue, batch.cost, batch.weight)
    stacked = LoggedBatch(*(torch.stack((one, one[back])) for one in columns))
    both = make(name)(
        torch.stack((revenue, 2 * revenue[back])),
        torch.stack((cost, cost[back])),
        stacked,
        torch.tensor([BUDGET, 1.5 * BUDGET]),
    )
    second = make(name)(2 * revenue[back], cost[back], changed(batch, back), 1.5 * BUDGET)
    assert_close(both, torch.stack((make(name)(revenue, cost, batch, BUDGET), second)))


@pytest.mark.parametrize("name", NAMES)
def test_a_budget_is_its_money_at_the_predicted_costs(name: str) -> None:
    revenue, cost, batch = problem()
    share = Budget(share=0.3)
    expected = make(name)(revenue, cost, batch, share.total_of(cost))
    assert_close(make(name)(revenue, cost, batch, share), expected)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_whether_the_budget_plays_a_part(name: str) -> None:
    revenue, cost, batch = problem()
    loss, other = make(name), revenue.roll(1, dims=0)  # the truth has no regret at any budget
    losses = [loss(other, cost, batch, budget) for budget in (BUDGET, BUDGET / 4)]
    assert torch.equal(*losses) is not loss.uses_budget


@pytest.mark.parametrize("loss", [PrimalPolicy(layer=Softmax(price=FIXED)), SpoPlus(price=FIXED)])
def test_at_a_fixed_price_the_budget_plays_no_part(loss: AbstractDecisionLoss) -> None:
    revenue, cost, batch = problem()
    assert not loss.uses_budget
    assert torch.equal(*(loss(revenue, cost, batch, budget) for budget in (BUDGET, BUDGET / 4)))


@pytest.mark.parametrize("name", NAMES)
def test_better_predictions_have_a_smaller_loss(name: str) -> None:
    """The truth itself against the truth of somebody else."""
    revenue, cost, batch = problem()
    wrong = torch.arange(ROWS).roll(4)  # the same treatment was received
    right = make(name)(revenue, cost, batch, BUDGET)
    assert float(right) < float(make(name)(revenue[wrong], cost[wrong], batch, BUDGET))


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_untouched_and_results_repeat(name: str) -> None:
    revenue, cost, batch = problem()
    kept = revenue.clone(), cost.clone()
    first, second = (make(name)(revenue, cost, batch, BUDGET) for _ in range(2))
    assert_close((revenue, cost), kept, rtol=0, atol=0)
    assert_close(first, second, rtol=0, atol=0)
    again = pickle.loads(pickle.dumps(make(name)))(revenue, cost, batch, BUDGET)
    assert_close(again, first, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_batch_is_refused(name: str) -> None:
    revenue, cost, batch = problem()
    for wrong in (None, batch.revenue, (batch.treatment, batch.revenue)):
        with pytest.raises(
            InvalidValueError, match="batch must be an instance of LoggedBatch, got"
        ):
            make(name)(revenue, cost, wrong, BUDGET)  # type: ignore[arg-type]


@pytest.mark.parametrize("column", ["treatment", "revenue", "cost", "weight", "baseline_cost"])
def test_a_column_of_a_batch_that_is_no_tensor_is_refused(column: str) -> None:
    _, _, batch = problem()
    with pytest.raises(DTypeError, match=rf"batch\.{column} must be a tensor, got ndarray"):
        replace(batch, **{column: np.ones(ROWS)})


@pytest.mark.parametrize("name", NAMES)
def test_a_treatment_that_nobody_received_is_refused(name: str) -> None:
    revenue, cost, batch = problem()
    rows = (batch.treatment != 2).nonzero().flatten()
    with pytest.raises(InvalidValueError, match="got 150 rows without treatment 2"):
        make(name)(revenue[rows], cost[rows], changed(batch, rows), BUDGET)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("base", [0.0, 3.0, 1000.0])
def test_equal_predictions_have_a_gradient_of_ordinary_size(
    name: str, base: float, dtype: torch.dtype
) -> None:
    """A network whose last layer is zero predicts the same revenue for every treatment."""
    _, cost, batch = problem(dtype)
    revenue = torch.full_like(cost, base, requires_grad=True)
    loss = make(name)(revenue, cost, batch, BUDGET)
    (slope,) = torch.autograd.grad(loss, revenue)
    assert bool(slope.isfinite().all())
    assert 0 < float(slope.abs().max()) < 1e3


@pytest.mark.parametrize("name", NAMES)
def test_everything_equal_leaves_a_finite_gradient(name: str) -> None:
    _, _, batch = problem()
    inputs = [torch.ones(ROWS, ARMS, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    loss = make(name)(*inputs, batch, BUDGET)
    for slope in torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True):
        assert bool(slope.isfinite().all())
        assert float(slope.abs().max()) < 1e3


@pytest.mark.parametrize("name", NAMES)
def test_a_prediction_of_minus_a_billion_leaves_the_others_their_gradient(name: str) -> None:
    revenue, cost, batch = problem()
    cost = cost.clone()
    cost[5, 1] = 2 * cost.max()  # dear and worthless: nobody's choice before or after
    found = []
    wrong = revenue.flip(1)  # where predictions are right, a loss may have no gradient
    for worst in (revenue.min() - 5, torch.tensor(-1e9)):
        given = wrong.clone()
        given[5, 1] = worst
        given.requires_grad_()
        loss = make(name)(given, cost, batch, BUDGET)
        (slope,) = torch.autograd.grad(loss, given)
        found.append(float(slope[6:].abs().max()))
    assert 0.3 * found[0] < found[1] < 3 * found[0]


@pytest.mark.parametrize("name", NAMES)
def test_autocast_hands_over_short_floats_and_gets_float32(name: str) -> None:
    revenue, cost, batch = problem(torch.float32)
    short = [one.bfloat16() for one in (revenue, cost)]
    expected = make(name)(*(one.float() for one in short), batch, BUDGET)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = make(name)(*short, batch, BUDGET)
    assert found.dtype == torch.float32
    assert_close(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_that_are_no_numbers_are_refused_or_handed_on(name: str) -> None:
    revenue, cost, batch = problem()
    revenue[3, int(batch.treatment[3])] = torch.nan
    with suppress(InvalidValueError):
        assert bool(make(name)(revenue, cost, batch, BUDGET).isnan())


@pytest.mark.parametrize("name", NAMES)
def test_predictions_of_another_shape_or_type_are_refused(name: str) -> None:
    revenue, cost, batch = problem()
    for other in (cost[:, :1], cost[0], cost[:-1]):
        with pytest.raises(ShapeError, match="revenue and cost must share one shape"):
            make(name)(revenue, other, batch, BUDGET)
    with pytest.raises(DTypeError, match=r"cost must be floating point, got torch\.int64"):
        make(name)(revenue, cost.long(), batch, BUDGET)


@pytest.mark.parametrize("name", NAMES)
def test_one_treatment_leaves_nothing_to_learn(name: str) -> None:
    revenue, cost, batch = problem()
    given = revenue[:, :1].clone().requires_grad_()
    only = replace(batch, treatment=torch.zeros(ROWS, dtype=torch.int64))
    loss = make(name)(given, cost[:, :1], only, 10 * BUDGET)
    assert bool(loss.isfinite())
    assert float(torch.autograd.grad(loss, given)[0].abs().max()) < 1e-9


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("earned", [0.0, 0.1, 3.0])
def test_rows_that_all_earned_the_same_and_cost_nothing_leave_a_finite_gradient(
    name: str, earned: float
) -> None:
    revenue, cost, batch = problem(torch.float32)
    same = replace(
        batch, revenue=torch.full_like(batch.revenue, earned), cost=torch.zeros_like(batch.cost)
    )
    given = revenue.requires_grad_()
    loss = make(name)(given, cost, same, BUDGET)
    assert abs(loss.item()) < 1e2
    assert float(torch.autograd.grad(loss, given)[0].abs().max()) < 1e2


@pytest.mark.parametrize("name", ["revenue", "cost", "weight", "baseline_revenue", "baseline_cost"])
def test_logs_of_another_shape_or_type_are_refused(name: str) -> None:
    revenue, cost, batch = problem()
    batch = replace(batch, baseline_revenue=revenue, baseline_cost=cost)
    column = getattr(batch, name)
    wanted = r"\(200, M\)" if "baseline" in name else r"\(200,\)"
    for other in (column[:1], column[:-1], column[:, None]):
        with pytest.raises(ShapeError, match=rf"batch\.{name} must be {wanted}, as batch"):
            replace(batch, **{name: other})
    with pytest.raises(DTypeError, match=rf"batch\.{name} must be floating point, got torch.int64"):
        replace(batch, **{name: column.long()})
    with pytest.raises(DTypeError, match=rf"batch\.{name} must be a tensor, got list"):
        replace(batch, **{name: column.tolist()})


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_batch_or_holds_no_numbers_is_refused(name: str) -> None:
    revenue, cost, batch = problem()
    with pytest.raises(
        InvalidValueError, match=r"batch must be an instance of LoggedBatch, got \("
    ):
        make(name)(revenue, cost, (batch.treatment, batch.revenue), BUDGET)
    for other, came in (
        (cost.to("meta"), "the device meta"),
        (cost.to_sparse(), "torch.sparse_coo"),
    ):
        with pytest.raises(DTypeError, match=f"cost must hold its numbers densely, got {came}"):
            make(name)(revenue, other, batch, BUDGET)


def test_the_table_is_complete() -> None:
    found = set()
    for module in pkgutil.iter_modules(dfl.losses.__path__, "dfl.losses."):
        for _, member in inspect.getmembers(import_module(module.name), inspect.isclass):
            if issubclass(member, AbstractDecisionLoss) and not inspect.isabstract(member):
                found.add(member)
    assert found == {LOSSES.load(name) for name in NAMES}
