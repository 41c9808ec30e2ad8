"""The self-normalised value by differences, and the weight that must not be zero."""

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import InvalidValueError, UnsupportedProblemError
from dfl.losses import flip_value
from dfl.losses.estimators.policy_value import matched_weight


def test_the_gradient_is_what_a_flip_does() -> None:
    generator = torch.Generator().manual_seed(0)
    outcome, weight = 1 + torch.rand(2, 3, 9, generator=generator, dtype=torch.float64)
    received = torch.randint(2, (3, 9), generator=generator).double().requires_grad_()
    value = flip_value(received, outcome, weight)
    (slope,) = torch.autograd.grad(value.sum(), received)
    for problem in range(3):
        for person in range(9):
            values = []
            for share in (1.0, 0.0):
                changed = received[problem].detach().clone()
                changed[person] = share
                followed = weight[problem] * changed
                values.append((followed * outcome[problem]).sum() / followed.sum())
            assert_close(slope[problem, person], values[0] - values[1])


def test_one_matched_person_has_no_gradient() -> None:
    received = torch.tensor([0.0, 1.0, 0.0], requires_grad=True)
    value = flip_value(received, torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 1.0, 3.0]))
    assert_close(value.item(), 2.0)
    (slope,) = torch.autograd.grad(value, received)
    # Joining at weight 1 and outcome 1 gives 1.5, at weight 3 and outcome 4 gives 3.5.
    assert_close(slope, torch.tensor([-0.5, 0.0, 1.5]))


def test_differences_have_no_derivative() -> None:
    received = torch.tensor([1.0, 1.0, 0.0], requires_grad=True)
    value = flip_value(received, torch.arange(3.0), torch.ones(3))
    (slope,) = torch.autograd.grad(value, received, create_graph=True)
    with pytest.raises(UnsupportedProblemError, match="has no derivative itself"):
        torch.autograd.grad(slope.sum(), received)


@pytest.mark.parametrize("function", [matched_weight, lambda x: flip_value(x, x, 1 + x)])
def test_a_policy_that_nobody_followed_is_refused(function: object) -> None:
    with pytest.raises(InvalidValueError, match="must have received the treatment that the policy"):
        function(torch.zeros(4))  # type: ignore[operator]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own
def test_the_matched_weight_is_a_sum_with_all_derivatives() -> None:
    weighted = torch.rand(2, 5, dtype=torch.float64, requires_grad=True)
    assert_close(matched_weight(weighted), weighted.sum(dim=1))
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(lambda x: matched_weight(x).square(), weighted)
    assert torch.autograd.gradcheck(matched_weight, weighted, check_forward_ad=True)
    mapped = torch.func.vmap(matched_weight, in_dims=1)(weighted.T)
    assert_close(mapped, matched_weight(weighted))
    with pytest.raises(InvalidValueError, match="got none in 5 rows"):
        torch.func.vmap(matched_weight)(torch.stack((torch.ones(5), torch.zeros(5))))
