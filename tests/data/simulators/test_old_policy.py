from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from dfl.data import RidgePolicy, UpliftData
from dfl.errors import InvalidValueError


def spend(policy: RidgePolicy, data: UpliftData) -> float:
    cost = (data.features.double() @ policy.weights + policy.offsets)[:, data.treatments :]
    return float(cost.gather(1, policy(data.features)[:, None]).mean())


def test_regressions_recover_a_linear_truth(make_rows: Callable[..., UpliftData]) -> None:
    data = make_rows(3000)
    policy = RidgePolicy.fit(data, share=0.5, ridge=1e-9)
    revenue = (data.features.double() @ policy.weights + policy.offsets)[:, :3]
    expected = torch.stack(
        [torch.ones(3000), torch.full((3000,), 1.5), 1 + data.features[:, 0]], dim=1
    )
    torch.testing.assert_close(revenue, expected.double(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7])
def test_the_policy_meets_its_budget(make_rows: Callable[..., UpliftData], share: float) -> None:
    data = make_rows(3000)
    policy = RidgePolicy.fit(data, share=share)
    cost = (data.features.double() @ policy.weights + policy.offsets)[:, 3:]
    lowest, highest = float(cost.amin(1).mean()), float(cost.amax(1).mean())
    budget = lowest + share * (highest - lowest)
    assert spend(policy, data) <= budget + 1e-5
    # more money is left only where nobody gains by it
    assert policy.multiplier == 0 or spend(policy, data) > budget - 0.05


def test_with_all_the_money_revenue_alone_decides(make_rows: Callable[..., UpliftData]) -> None:
    policy = RidgePolicy.fit(make_rows(), share=1.0)
    assert policy.multiplier == 0


def test_a_constant_feature_does_no_harm(make_rows: Callable[..., UpliftData]) -> None:
    data = make_rows()
    data.features[:, 2] = 5.0
    policy = RidgePolicy.fit(data, share=0.3)
    assert bool(policy.weights.isfinite().all())


def test_proposals_do_not_depend_on_where_features_lie(
    make_rows: Callable[..., UpliftData],
) -> None:
    data = make_rows(3000)
    near = replace(data, features=(data.features * 64).round() / 64)
    far = replace(near, features=near.features + 2.0**17)  # nothing is rounded away
    assert torch.equal(far.features - 2.0**17, near.features)
    policies = [RidgePolicy.fit(rows, share=0.3) for rows in (near, far)]
    assert torch.equal(policies[0](near.features), policies[1](far.features))


def test_a_share_above_one_is_refused(make_rows: Callable[..., UpliftData]) -> None:
    with pytest.raises(InvalidValueError, match="share must be in"):
        RidgePolicy.fit(make_rows(), share=1.5)
