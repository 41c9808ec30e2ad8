"""SPO+ and regret over any argmax, and SPO+ on logs."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.errors import DTypeError, InvalidValueError, ShapeError
from dfl.layers import Price, one_hot_argmax
from dfl.losses import LoggedBatch, SpoPlus, regret, spo_plus


def draw(*shape: int, seed: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def top_two(values: Tensor) -> Tensor:
    return torch.zeros_like(values).scatter(-1, values.topk(2, dim=-1).indices, 1)


def test_a_case_by_hand() -> None:
    """Predicted (1, 2), true (3, 1): max(2v - c) = 3 at the second, y* the first."""
    values = torch.tensor([[1.0, 2.0]], requires_grad=True)
    truth = torch.tensor([[3.0, 1.0]])
    loss = spo_plus(values, truth, one_hot_argmax)
    assert_close(loss, torch.tensor([3.0 - 2 * 1 + 3]))
    (slope,) = torch.autograd.grad(loss.sum(), values)
    assert_close(slope, torch.tensor([[-2.0, 2.0]]))
    assert_close(regret(values, truth, one_hot_argmax), torch.tensor([2.0]))


@pytest.mark.parametrize("argmax", [one_hot_argmax, top_two])
def test_it_bounds_the_regret_is_convex_and_vanishes_at_the_truth(argmax: object) -> None:
    truth, values, other = draw(300, 6), draw(300, 6, seed=4), draw(300, 6, seed=5)

    def loss(given: Tensor) -> Tensor:
        return spo_plus(given, truth, argmax)  # type: ignore[arg-type]

    assert bool((loss(values) >= regret(values, truth, argmax) - 1e-12).all())  # type: ignore[arg-type]
    assert bool((loss((values + other) / 2) <= (loss(values) + loss(other)) / 2 + 1e-12).all())
    assert_close(loss(truth), torch.zeros(300, dtype=torch.float64))
    assert bool((regret(values, truth, argmax) >= 0).all())  # type: ignore[arg-type]


def test_the_subgradient_is_the_derivative_where_there_is_one() -> None:
    truth, values = draw(5, 4), draw(5, 4, seed=4).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: spo_plus(v, truth, top_two), values)


def test_a_known_decision_saves_a_call_and_mapping_is_the_loop() -> None:
    calls = []

    def argmax(values: Tensor) -> Tensor:
        calls.append(len(values))
        return top_two(values)

    truth, values = draw(3, 5, 4), draw(3, 5, 4, seed=4)
    known = spo_plus(values, truth, argmax, decision=top_two(truth))
    assert calls == [15]
    assert_close(known, spo_plus(values, truth, top_two))
    slope = torch.func.grad(lambda v, c: spo_plus(v, c, top_two).sum())
    mapped = torch.func.vmap(slope)(values, truth)
    assert_close(mapped, torch.stack([slope(*one) for one in zip(values, truth, strict=True)]))


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_a_truth_that_is_not_finite_is_refused_by_name(number: float) -> None:
    truth = draw(2, 3).index_fill(1, torch.tensor([1]), number)
    for loss in (spo_plus, regret):
        with pytest.raises(InvalidValueError, match="truth must be finite, got NaN or infinity"):
            loss(draw(2, 3), truth, one_hot_argmax)
    with pytest.raises(InvalidValueError, match="decision must be finite"):
        spo_plus(draw(2, 3), draw(2, 3), one_hot_argmax, decision=truth)

    slopes = torch.func.vmap(torch.func.grad(lambda c: spo_plus(c, c, top_two).sum()))
    with pytest.raises(InvalidValueError, match="truth must be finite"):
        slopes(truth)


def test_lists_are_refused() -> None:
    for given, name in (((draw(1, 2), [[1.0, 2.0]]), "truth"), (([[1.0]], draw(1, 1)), "values")):
        for loss in (spo_plus, regret):
            with pytest.raises(DTypeError, match=f"{name} must be a tensor, got list"):
                loss(*given, one_hot_argmax)  # type: ignore[arg-type]


def test_shapes_that_do_not_fit_are_refused() -> None:
    message = r"truth and decision must have the shape of values, \(2, 3\), got \(2, 4\)"
    with pytest.raises(ShapeError, match=message):
        spo_plus(draw(2, 3), draw(2, 4), one_hot_argmax)
    with pytest.raises(ShapeError, match=message):
        spo_plus(draw(2, 3), draw(2, 3), one_hot_argmax, decision=draw(2, 4))
    with pytest.raises(ShapeError, match=message):
        regret(draw(2, 3), draw(2, 4), one_hot_argmax)


def logs(rows: int) -> tuple[Tensor, Tensor, LoggedBatch]:
    """Three treatments with unequal propensities and a noisy outcome; the truth is returned."""
    generator = torch.Generator().manual_seed(8)
    revenue = torch.rand(rows, 3, generator=generator, dtype=torch.float64)
    cost = torch.tensor([0.0, 0.1, 0.2]).double().expand(rows, 3)
    propensity = torch.tensor([0.2, 0.3, 0.5]).double()
    treatment = torch.multinomial(propensity, rows, replacement=True, generator=generator)
    seen = revenue.gather(1, treatment[:, None])[:, 0]
    noisy = seen + 0.3 * torch.randn(rows, generator=generator, dtype=torch.float64)
    paid = cost.gather(1, treatment[:, None])[:, 0]
    return revenue, cost, LoggedBatch(treatment, noisy, paid, 1 / propensity[treatment])


def test_doubly_robust_has_no_slope_at_the_truth_where_noise_is_symmetric() -> None:
    """Within 4 standard errors, per treatment; horvitz-thompson has one."""
    revenue, cost, batch = logs(20_000)
    slopes = {}
    for kind in ("doubly-robust", "horvitz-thompson"):
        loss = SpoPlus(pseudo_outcome=kind, price=Price(multiplier=0.5))  # type: ignore[arg-type]
        slopes[kind] = torch.func.grad(lambda r, of=loss: of(r, cost, batch, 1.0))(revenue) * 20_000
    deviations = {
        kind: (slope.mean(dim=0) / (slope.std(dim=0) / 20_000**0.5)).abs()
        for kind, slope in slopes.items()
    }
    assert float(deviations["doubly-robust"].max()) < 4
    assert float(deviations["horvitz-thompson"].min()) > 6


def test_on_logs_it_is_the_general_loss_of_pseudo_scores() -> None:
    revenue, cost, batch = logs(500)
    predicted = revenue.flip(1)
    truth = torch.zeros_like(revenue)
    observed = batch.weight * (batch.revenue - 0.5 * batch.cost)
    truth[torch.arange(500), batch.treatment] = observed
    expected = spo_plus(predicted - 0.5 * cost, truth, one_hot_argmax).mean()
    loss = SpoPlus(pseudo_outcome="horvitz-thompson", price=Price(multiplier=0.5))
    assert_close(loss(predicted, cost, batch, 1.0), expected)


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(
        InvalidValueError, match="pseudo_outcome must be one of 'doubly-robust', 'horvitz-thompson'"
    ):
        SpoPlus(pseudo_outcome="none")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match=r"price\.met_by must be one of 'decision'"):
        SpoPlus(price=Price(met_by="shares"))
