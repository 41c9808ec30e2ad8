from typing import Any

import pytest
import torch

from dfl import Budget
from dfl.errors import DflError, DTypeError, InvalidValueError, ShapeError


@pytest.mark.parametrize(
    ("budget", "total"),
    [
        (Budget(total=12.0), 12.0),
        (Budget(total=0), 0.0),
        (Budget(per_head=0.3), 30.0),
        (Budget(share=0.0), 20.0),
        (Budget(share=0.25), 35.0),
        (Budget(share=1), 80.0),
    ],
)
def test_every_unit_becomes_currency(budget: Budget, total: float) -> None:
    assert budget.total_for(100, cheapest=20.0, dearest=80.0) == pytest.approx(total)


@pytest.mark.parametrize(
    ("budget", "text"),
    [
        (Budget(total=1e6), "total=1e+06"),
        (Budget(per_head=0.3), "per_head=0.3"),
        (Budget(share=0.0), "share=0"),
    ],
)
def test_text_names_the_unit(budget: Budget, text: str) -> None:
    assert str(budget) == text


def test_exactly_one_unit_is_asked_for() -> None:
    with pytest.raises(InvalidValueError, match=r"exactly one of .* got none of them"):
        Budget()
    with pytest.raises(InvalidValueError, match=r"exactly one of .* got total, share"):
        Budget(total=1.0, share=0.5)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
@pytest.mark.parametrize("unit", ["total", "per_head"])
def test_amounts_must_be_finite_and_not_negative(unit: str, value: float) -> None:
    wanted = ">= 0 and finite" if value == float("inf") else ">= 0"
    with pytest.raises(InvalidValueError, match=f"budget {unit} must be {wanted}, got {value:g}"):
        Budget(**{unit: value})


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_share_must_lie_between_0_and_1(value: float) -> None:
    finite = " and finite" if value == float("inf") else ""
    message = rf"budget share must be in \[0, 1\]{finite}, got {value:g}"
    with pytest.raises(InvalidValueError, match=message):
        Budget(share=value)


@pytest.mark.parametrize(
    ("cost", "error", "message"),
    [
        (torch.ones(2, 3, 4), ShapeError, r"cost must be \(N, M\) with M >= 1, got \(2, 3, 4\)"),
        (torch.ones(2, 0), ShapeError, r"cost must be \(N, M\) with M >= 1, got \(2, 0\)"),
        (
            torch.tensor([[0.0, torch.nan]]),
            InvalidValueError,
            "cost must be finite, got NaN or inf",
        ),
        (
            torch.tensor([[0.0, torch.inf]]),
            InvalidValueError,
            "cost must be finite, got NaN or inf",
        ),
        ([[0.0, 1.0]], DTypeError, "cost must be a tensor, got list"),
    ],
)
def test_costs_that_add_up_to_no_budget_are_refused(
    cost: Any, error: type[DflError], message: str
) -> None:
    with pytest.raises(error, match=message):
        Budget(share=0.5).total_of(cost)
