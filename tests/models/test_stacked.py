"""Networks along a leading axis behave as the networks they hold."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dfl.models import MLP, OuterNetwork, StackedNetwork


def outcome_networks() -> StackedNetwork:
    return StackedNetwork(lambda: MLP((8, 4)).build(5, 3))


def test_each_network_depends_on_its_own_seed_alone() -> None:
    network = outcome_networks()
    three, one = network.initial([1, 2, 3]), network.initial([2])
    for name, value in one.items():
        assert_close(three[name][1:2], value, rtol=0, atol=0)
        assert not torch.equal(three[name][0], three[name][1])


def test_initial_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    outcome_networks().initial([1, 2])
    assert_close(torch.get_rng_state(), before)


def test_other_threads_see_nothing_of_drawn_weights() -> None:
    """Torch's generator and default dtype are everybody's: they stay so even meanwhile."""
    state = torch.get_rng_state()

    def build() -> nn.Module:
        layers = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 2))
        torch.nn.init.xavier_normal_(layers[0].weight)
        layers[0].bias = nn.Parameter(0.1 * torch.randn(4))
        assert torch.get_default_dtype() == torch.float64
        assert torch.equal(torch.get_rng_state(), state)
        return layers

    expected = outcome_networks().initial([1])
    torch.set_default_dtype(torch.float64)
    try:
        found = StackedNetwork(build).initial([1])
        again = outcome_networks().initial([1])
    finally:
        torch.set_default_dtype(torch.float32)
    assert {value.dtype for value in found.values()} == {torch.float32}
    assert_close(again, expected, rtol=0, atol=0)


def test_stacked_application_is_a_loop() -> None:
    network = outcome_networks()
    parameters = network.initial([1, 2, 3])
    features = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0))
    own, shared = network(parameters, features), network(parameters, features[0])
    assert own.shape == (3, 6, 2, 3)
    for k in range(3):
        single = MLP((8, 4)).build(5, 3)
        single.load_state_dict({name: value[k] for name, value in parameters.items()})
        assert_close(own[k], single(features[k]))
        assert_close(shared[k], single(features[0]))


def test_costs_are_positive_and_gates_start_at_their_bias() -> None:
    features = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    outcomes = outcome_networks()
    assert bool((outcomes(outcomes.initial([1]), features)[..., 1, :] > 0).all())
    gates = StackedNetwork(lambda: OuterNetwork((8,), 5, 2, 3, bias=-2.0))
    gate = gates(gates.initial([1]), features).sigmoid()
    assert gate.shape == (1, 200, 2, 3)
    assert 0.05 < float(gate.mean()) < 0.25


def test_parameters_of_another_shape_are_refused() -> None:
    other = StackedNetwork(lambda: MLP((8, 5)).build(5, 3)).initial([1])
    with pytest.raises(ValueError, match=r"parameters must be .*does not fit"):
        outcome_networks().check(other)
    outcome_networks().check(outcome_networks().initial([1, 2]))


def test_an_architecture_that_does_not_stack_is_mapped_over() -> None:
    torch.manual_seed(0)
    plain = StackedNetwork(lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)))
    parameters, features = plain.initial([1, 2]), torch.randn(2, 6, 5)
    found = plain(parameters, features)
    for k in range(2):
        first = (features[k] @ parameters["0.weight"][k].mT + parameters["0.bias"][k]).tanh()
        assert_close(found[k], first @ parameters["2.weight"][k].mT + parameters["2.bias"][k])
    assert_close(plain(parameters, features[0])[0], found[0])
