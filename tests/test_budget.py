import pytest

from dfl import Budget
from dfl.errors import InvalidValueError


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
