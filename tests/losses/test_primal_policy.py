"""The primal policy loss: golden cases of the papers, and what it refuses."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.errors import DTypeError, InvalidValueError, ShapeError
from dfl.layers import Price, Softmax, Softness
from dfl.losses import LOSSES, LoggedBatch, PrimalPolicy
from tests.losses.toy import three_arms

REVENUE = [[0.30, 0.50], [0.20, 0.60], [0.40, 0.45], [0.50, 0.35]]
COST = [[0.10, 0.20], [0.10, 0.40], [0.10, 0.50], [0.20, 0.30]]


def toy(weight: float) -> tuple[Tensor, Tensor, LoggedBatch]:
    """Toy A of the golden cases, with an inverse propensity weight for every row."""
    batch = LoggedBatch(
        treatment=torch.tensor([1, 0, 1, 0]),
        revenue=torch.tensor([1, 0.2, 0.4, 0.6], dtype=torch.float64),
        cost=torch.tensor([0.5, 0.1, 0.8, 0.3], dtype=torch.float64),
        weight=torch.full((4,), weight).double(),
    )
    return (
        torch.tensor(REVENUE, dtype=torch.float64).requires_grad_(),
        torch.tensor(COST, dtype=torch.float64),
        batch,
    )


def policy(multiplier: float, temperature: float) -> PrimalPolicy:
    layer = Softmax(softness=Softness(temperature, "absolute"), price=Price(multiplier=multiplier))
    return PrimalPolicy(layer=layer, estimator="horvitz-thompson", objective="revenue-minus-cost")


@pytest.mark.parametrize(
    ("multipliers", "temperature", "weighted", "gradient", "unweighted"),
    [
        ([0.5], 1, -1.4323424, [-0.3728985, 0.0738402, 0, 0.2227649], -0.1790428),
        ([0.5], 0.1, -2.0418365, [-2.2371968, 0.2103111, 0, 0.9449423], -0.2552296),
        ([0.1, 0.5, 1], 1, -4.1912537, [-1.0930133, 0.2155368, 0.0340019, 0.6536291], -0.5239067),
        ([0.1], 5, -2.0504603, [-0.0949657, 0.0189740, -0.0320000, 0.0569854], -0.2563075),
    ],
)
def test_golden_cases(
    multipliers: list[float],
    temperature: float,
    weighted: float,
    gradient: list[float],
    unweighted: float,
) -> None:
    """G4: the papers sum over people where we average, so ours is a quarter of theirs."""
    revenue, cost, batch = toy(weight=2)
    loss = sum(policy(m, temperature)(revenue, cost, batch, 1.0) for m in multipliers) * 4
    assert isinstance(loss, Tensor)
    (slope,) = torch.autograd.grad(loss, revenue)
    assert_close(loss.item(), weighted, atol=1e-6, rtol=0)
    expected = torch.tensor(gradient, dtype=torch.float64)
    assert_close(slope[:, 1], expected, atol=1e-6, rtol=0)
    assert_close(slope[:, 0], -expected, atol=1e-6, rtol=0)
    revenue, cost, batch = toy(weight=1)
    plain = sum(policy(m, temperature)(revenue, cost, batch, 1.0) for m in multipliers)
    assert isinstance(plain, Tensor)
    assert_close(plain.item(), unweighted, atol=1e-6, rtol=0)


def test_cost_gradient_is_minus_multiplier_times_revenue_gradient() -> None:
    revenue, cost, batch = toy(weight=2)
    cost.requires_grad_()
    loss = policy(0.5, 1)(revenue, cost, batch, 1.0)
    by_revenue, by_cost = torch.autograd.grad(loss, (revenue, cost))
    assert_close(by_cost, -0.5 * by_revenue)


def test_self_normalised_ignores_a_constant_added_to_every_revenue() -> None:
    revenue, cost, batch = toy(weight=2)
    shifted = LoggedBatch(batch.treatment, batch.revenue + 7, batch.cost, batch.weight)
    layer = Softmax(softness=Softness(1, "absolute"), price=Price(multiplier=0.5))
    loss = PrimalPolicy(layer=layer, estimator="self-normalised")
    gradients = [
        torch.autograd.grad(loss(revenue, cost, rows, 1.0), revenue)[0] for rows in (batch, shifted)
    ]
    assert_close(gradients[0], gradients[1])


def test_objective_revenue_does_not_charge_for_cost() -> None:
    revenue, cost, batch = toy(weight=2)
    layer = Softmax(softness=Softness(1, "absolute"), price=Price(multiplier=0.5))
    free, charged = (
        PrimalPolicy(layer=layer, estimator="horvitz-thompson", objective=objective)  # type: ignore[arg-type]
        for objective in ("revenue", "revenue-minus-cost")
    )
    shares = layer(revenue, cost, 1.0).shares.gather(1, batch.treatment[:, None]).squeeze(1)
    spend = (batch.weight * shares * batch.cost).mean()
    difference = charged(revenue, cost, batch, 1.0) - free(revenue, cost, batch, 1.0)
    assert_close(difference, 0.5 * spend)


def test_the_price_is_that_of_the_spend_by_the_weights_of_the_estimator() -> None:
    """Of rows whose treatments came up unequally often, the two spends differ."""
    revenue, cost, batch = three_arms()
    layer = Softmax(softness=Softness(1, "absolute"))
    for estimator, observed in (
        ("horvitz-thompson", batch.plain_cost),
        ("self-normalised", batch.observed_cost),
    ):
        loss = PrimalPolicy(layer=layer, estimator=estimator, objective="revenue")  # type: ignore[arg-type]
        price = layer(revenue, cost, 30.0, observed).multiplier
        fixed = replace(
            loss, layer=Softmax(softness=layer.softness, price=Price(multiplier=price.item()))
        )
        assert_close(loss(revenue, cost, batch, 30.0), fixed(revenue, cost, batch, 30.0))
    prices = [layer(revenue, cost, 30.0, one).multiplier for one in (batch.plain_cost, observed)]
    assert abs(float(prices[0] - prices[1])) > 0.01


def test_leading_axes_are_separate_problems() -> None:
    revenue, cost, batch = toy(weight=2)
    loss = PrimalPolicy()
    alone = [loss(revenue * scale, cost, batch, budget) for scale, budget in ((1, 0.6), (2, 0.9))]
    stacked = LoggedBatch(
        *(torch.stack((column, column)) for column in (batch.treatment, batch.revenue)),
        *(torch.stack((column, column)) for column in (batch.cost, batch.weight)),
    )
    both = loss(
        torch.stack((revenue, 2 * revenue)),
        torch.stack((cost, cost)),
        stacked,
        torch.tensor([0.6, 0.9]),
    )
    assert_close(both, torch.stack(alone))


def test_a_batch_without_a_treatment_is_refused() -> None:
    revenue, cost, batch = toy(weight=2)
    empty = LoggedBatch(torch.zeros_like(batch.treatment), batch.revenue, batch.cost, batch.weight)
    with pytest.raises(InvalidValueError, match="got 4 rows without treatment 1"):
        PrimalPolicy()(revenue, cost, empty, 1.0)


def test_a_batch_of_another_size_is_refused() -> None:
    revenue, cost, batch = toy(weight=2)
    with pytest.raises(ShapeError, match=r"batch.treatment must be \(3,\), got \(4,\)"):
        PrimalPolicy()(revenue[:3], cost[:3], batch, 1.0)


@pytest.mark.parametrize("name", LOSSES)
def test_logs_that_no_policy_can_be_valued_on(name: str) -> None:
    loss, rows = LOSSES.load(name)(**LOSSES.entry(name).options), 30
    generator = torch.Generator().manual_seed(0)
    revenue, cost, outcome = (torch.rand(rows, 3, generator=generator) for _ in range(3))
    arm, weight = torch.arange(rows) % 3, torch.full((rows,), 3.0)

    def value(treatment: Tensor = arm, weight: Tensor = weight, **changed: Tensor) -> Tensor:
        columns = {"revenue": outcome[:, 0], "cost": outcome[:, 1], **changed}
        batch = LoggedBatch(treatment, columns["revenue"], columns["cost"], weight)
        return loss(revenue, cost, batch, 10.0)

    assert bool(value().isfinite())
    for wrong in (-1, 3):
        with pytest.raises(InvalidValueError, match=rf"must be 0 to 2, .* got {wrong}"):
            value(torch.where(arm == 2, wrong, arm))
    for bad in (float("nan"), -1.0):
        with pytest.raises(InvalidValueError, match="weight, the inverse propensity, must be"):
            value(weight=torch.where(arm == 1, bad, weight))
    for bad in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(InvalidValueError, match=rf"batch\.revenue must be finite, got {bad}"):
            value(revenue=torch.where(arm == 1, bad, outcome[:, 0]))
    for bad in (float("nan"), -1.0):
        with pytest.raises(InvalidValueError, match=r"batch\.cost must be finite and >= 0, got"):
            value(cost=torch.where(arm == 1, bad, outcome[:, 1]))
    with pytest.raises(InvalidValueError, match=r"weight above 0, .* without treatment 1"):
        value(weight=torch.where(arm == 1, 0.0, weight))
    with pytest.raises(DTypeError, match=r"treatment must be int64, got torch\.int32"):
        value(arm.int())
