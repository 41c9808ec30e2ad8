"""`StackedAdam`: torch's AdamW per network, a rate that can change, weights that are averaged."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.training.optimiser import StackedAdam

START = {"w": torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)}
TARGET = torch.tensor([0.3, 0.7], dtype=torch.float64)
RATES = [1.0, 0.5, 0.25, 0.1, 0.0]


def error(weights: Tensor) -> Tensor:
    return (weights - TARGET).square().sum(dim=-1)


def steps(optimiser: StackedAdam, rates: list[float]) -> list[Tensor]:
    seen = []
    for rate in rates:
        optimiser.scale_rate(rate)
        optimiser.step(error(optimiser.parameters["w"]))
        seen.append(optimiser.parameters["w"].detach().clone())
    return seen


def adam(averaged_steps: float = 0.0) -> StackedAdam:
    decay = torch.tensor([0.0, 0.3], dtype=torch.float64)
    return StackedAdam(START, learning_rate=0.1, weight_decay=decay, averaged_steps=averaged_steps)


@pytest.mark.parametrize("network", [0, 1])
def test_each_network_takes_the_steps_of_torchs_adamw_at_the_same_rates(network: int) -> None:
    found = steps(adam(), RATES)
    weights = START["w"][network].clone().requires_grad_()
    decay = (0.0, 0.3)[network]
    reference = torch.optim.AdamW([weights], lr=0.1, weight_decay=decay)
    for rate, mine in zip(RATES, found, strict=True):
        reference.param_groups[0]["lr"] = 0.1 * rate
        reference.zero_grad()
        error(weights).backward()
        reference.step()
        assert_close(mine[network], weights.detach())


def test_the_average_is_a_mean_while_young_and_then_exponential() -> None:
    optimiser = adam(averaged_steps=3.0)
    seen = steps(optimiser, [1.0] * 3)
    assert_close(optimiser.frozen()["w"], torch.stack(seen).mean(dim=0))
    before = optimiser.frozen()["w"]
    (last,) = steps(optimiser, [1.0])
    assert_close(optimiser.frozen()["w"], before * 2 / 3 + last / 3)


def test_a_restored_average_goes_on() -> None:
    first = adam(averaged_steps=3.0)
    steps(first, [1.0] * 5)
    second = adam(averaged_steps=3.0)
    second.restore({name: value.clone() for name, value in first.state().items()})
    assert_close(second.frozen(), first.frozen(), rtol=0, atol=0)
    for one in (first, second):
        steps(one, [0.5] * 2)
    assert_close(second.frozen(), first.frozen(), rtol=0, atol=0)


def test_what_is_returned_is_a_copy() -> None:
    for averaged in (0.0, 3.0):
        optimiser = adam(averaged)
        steps(optimiser, [1.0])
        frozen = optimiser.frozen()["w"]
        kept = frozen.clone()
        steps(optimiser, [1.0])
        assert_close(frozen, kept, rtol=0, atol=0)


def test_an_average_over_less_than_a_step_is_the_weights_themselves() -> None:
    optimiser = adam(averaged_steps=0.4)
    (_, last) = steps(optimiser, [1.0, 1.0])
    assert_close(optimiser.frozen()["w"], last, rtol=0, atol=0)
