"""The parts are registered, and do what their docstrings say."""

import pytest
import torch

from dfl.data import CouponSimulator, PartSizes
from dfl.errors import InvalidValueError
from dfl.losses import LOSSES, LoggedBatch
from dfl.methods import METHODS, Training

LOSS, METHOD = "{{ cookiecutter.prefix }}-capped-revenue", "{{ cookiecutter.prefix }}-robust-trials"


def test_no_purchase_counts_above_the_cap() -> None:
    revenue, cost = torch.rand(2, 60, 2)
    treatment = torch.arange(60) % 2
    rows = {"treatment": treatment, "cost": torch.rand(60), "weight": torch.full((60,), 2.0)}
    loss = LOSSES.make(LOSS, cap=1.0)
    usual = loss(revenue, cost, LoggedBatch(revenue=torch.ones(60), **rows), 20.0)
    huge = loss(revenue, cost, LoggedBatch(revenue=torch.full((60,), 1e6), **rows), 20.0)
    torch.testing.assert_close(usual, huge)
    with pytest.raises(InvalidValueError, match="cap"):
        LOSSES.make(LOSS, cap=0.0)


def test_the_method_is_the_same_under_a_seed() -> None:
    rows = CouponSimulator(sizes=PartSizes(rct=300, obs=100, validation=100, test=50)).hybrid(0)
    quick = Training(epochs=1, min_steps=5, members=1, weight_decay=(0.1,))
    method = METHODS.make(METHOD, training=quick)
    first, second = (method.fit(rct=rows.rct, validation=rows.validation) for _ in range(2))
    found = first.predict(rows.test.features), second.predict(rows.test.features)
    assert torch.equal(found[0].revenue, found[1].revenue)
