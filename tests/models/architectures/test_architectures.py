"""What every architecture promises, and what single ones add."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.errors import InvalidValueError
from dfl.models import (
    ARCHITECTURES,
    MLP,
    AbstractArchitecture,
    ArmHeads,
    OuterNetwork,
    StackedNetwork,
)

SMALL: dict[str, list[AbstractArchitecture]] = {
    "mlp": [MLP((8, 4)), MLP(())],
    "arm-heads": [
        ArmHeads((8,), (4,)),
        ArmHeads((8, 6), ()),
        ArmHeads((8,), (4,), propensity=True),
    ],
}
EACH = [one for name in ARCHITECTURES for one in SMALL[name]]
each = pytest.mark.parametrize("architecture", EACH, ids=str)


def rows(count: int = 6) -> Tensor:
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(0))


@each
def test_costs_are_not_negative_and_everybody_has_a_representation(
    architecture: AbstractArchitecture,
) -> None:
    torch.manual_seed(0)
    network = architecture.build(5, 3)
    found = network(rows(200), details=True)
    assert_close(network(rows(200)), found["outcomes"])
    assert found["outcomes"].shape == (200, 2, 3)
    assert bool((found["outcomes"][:, 1] >= 0).all())
    assert found["hidden"].shape[0] == 200
    assert ("propensity" in found) == getattr(architecture, "propensity", False)


@each
def test_people_do_not_depend_on_each_other(architecture: AbstractArchitecture) -> None:
    torch.manual_seed(0)
    network = architecture.build(5, 3)
    assert_close(network(rows()[2:3]), network(rows())[2:3])


@each
def test_stacked_details_are_those_of_each_network(architecture: AbstractArchitecture) -> None:
    stacked = StackedNetwork(lambda: architecture.build(5, 3))
    parameters = stacked.initial([1, 2])
    found = stacked.details(parameters, rows())
    for k in range(2):
        single = architecture.build(5, 3)
        single.load_state_dict({name: value[k] for name, value in parameters.items()})
        for name, value in single.details(rows()).items():
            assert_close(found[name][k], value)


@each
def test_all_networks_at_once_differentiate_as_each_alone(
    architecture: AbstractArchitecture,
) -> None:
    stacked = StackedNetwork(lambda: architecture.build(5, 3))
    parameters = {k: v.double().requires_grad_() for k, v in stacked.initial([1, 2]).items()}
    features = torch.stack([rows(), rows().flip(0)]).double()
    used = {name: v for name, v in parameters.items() if "propensity" not in name}
    used.pop("epsilon", None)
    found = torch.autograd.grad(stacked(parameters, features).square().sum(), [*used.values()])
    for k in range(2):
        single = architecture.build(5, 3).double()
        single.load_state_dict({name: value[k] for name, value in parameters.items()})
        single(features[k]).square().sum().backward()
        own = dict(single.named_parameters())
        for name, slope in zip(used, found, strict=True):
            assert_close(slope[k], own[name].grad)


def test_each_treatment_has_its_own_head() -> None:
    torch.manual_seed(0)
    network = ArmHeads((8,), (4,)).build(5, 3)
    before = network(rows())
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.startswith("heads"):
                value[1] += 1.0
    after = network(rows())
    assert_close(after[:, :, [0, 2]], before[:, :, [0, 2]])
    assert not torch.allclose(after[:, :, 1], before[:, :, 1])


def test_an_outer_network_can_start_the_same_for_everybody() -> None:
    flat = OuterNetwork((4,), 5, 3, 2, bias=-1.0, flat=True)(rows()).detach()
    assert_close(flat, torch.full((6, 3, 2), -1.0))
    assert float(OuterNetwork((4,), 5, 3, 2)(rows()).detach().std()) > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLP((0,)), "hidden sizes must be >= 1, got 0"),
        (lambda: ArmHeads(()), "number of trunk layers must be >= 1, got 0"),
        (lambda: ArmHeads((4,), (0,)), "sizes of trunk and heads must be >= 1, got 0"),
    ],
)
def test_sizes_out_of_range_are_refused(make: type[AbstractArchitecture], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        make()
