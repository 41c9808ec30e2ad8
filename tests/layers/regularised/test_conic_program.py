"""The audit of an answer: what it passes, and each way to fail it."""

import pytest
import torch
from torch import Tensor

from dfl.layers.regularised.conic_program import Audit, audit
from dfl.layers.regularised.regulariser import SquaredNorm
from dfl.layers.regularised.soft_optimum import BudgetConstraint, soft_optimum
from tests.layers.instances import instance


def audited(change: str) -> Audit:
    one = instance(3)
    tau = torch.tensor(one.temperature).double()
    shares, multiplier = soft_optimum(
        SquaredNorm(), one.revenue, one.cost, tau, BudgetConstraint(one.budget)
    )
    price = multiplier / tau
    if change == "spent":
        shares = shares.roll(1, dims=1)
    if change == "negative":
        shares = torch.where(shares > 0, shares, -1e-3)
    if change == "short":
        shares = 0.9 * shares
    if change == "price":
        price = 2 * price
    if change == "nan":
        shares = shares * torch.nan
    if change == "zero":  # what one solver returns for problems without an answer
        shares, price = 0 * shares, 40 + 0 * price
    given: list[Tensor] = [one.revenue / tau, one.cost, one.budget, shares, price]
    gain, cost, budget, answer, at = (each[None] for each in given)
    return audit(SquaredNorm(), gain, cost, budget, (answer, at), 1e-6)


def test_the_optimum_passes() -> None:
    report = audited("nothing")
    assert report.failed.tolist() == [False]
    assert float(report.gap) == pytest.approx(0, abs=1e-12)
    assert float(report.infeasibility) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("change", ["spent", "negative", "short", "price", "nan", "zero"])
def test_anything_else_fails(change: str) -> None:
    assert audited(change).failed.tolist() == [True]
