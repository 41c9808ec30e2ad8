import pytest
import torch

from dfl.errors import DTypeError, InvalidValueError, ShapeError
from dfl.metrics.roi_score import roi_score


def predictions(gain: list[float], price: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    columns = (torch.tensor(x, dtype=torch.float64) for x in (gain, price))
    revenue, cost = (torch.stack([torch.ones(len(x)).double(), 1 + x], dim=1) for x in columns)
    return revenue, cost


def test_uplift_over_uplift() -> None:
    score = roi_score(*predictions([1, 3, -2], [2, 4, 1]))
    assert score.tolist() == pytest.approx([0.5, 0.75, -2])


def test_free_gains_come_first_and_free_losses_last() -> None:
    gain, price = [0.5, 0.2, 9.0, -0.2, -0.5], [-1.0, 0.0, 3.0, -2.0, 1e-9]
    order = roi_score(*predictions(gain, price)).argsort(descending=True)
    assert order.tolist() == [0, 1, 2, 3, 4]


def test_currency_does_not_matter() -> None:
    revenue, cost = predictions([1, 3, -2], [2, -4, 1e-9])
    assert roi_score(100 * revenue, 100 * cost).tolist() == pytest.approx(
        roi_score(revenue, cost).tolist()
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int64, torch.bfloat16])
def test_small_dtypes_do_not_wrap_round(dtype: torch.dtype) -> None:
    revenue, cost = torch.tensor([[1, 0], [0, 1], [1, 1]]), torch.tensor([[0, 1]] * 3)
    assert roi_score(revenue.to(dtype), cost.to(dtype)).tolist() == [-1, 1, 0]


def test_bad_input() -> None:
    revenue, cost = predictions([1, 3], [2, 4])
    with pytest.raises(ShapeError, match=r"must be \(N, 2\).* got \(2, 2\) and \(2, 1\)"):
        roi_score(revenue, cost[:, :1])
    with pytest.raises(InvalidValueError, match="floor must be > 0, got 0"):
        roi_score(revenue, cost, floor=0)
    with pytest.raises(InvalidValueError, match="got 0 for everyone"):
        roi_score(revenue, torch.ones(2, 2))
    for value in (float("nan"), float("inf")):
        with pytest.raises(InvalidValueError, match="predicted revenue must be finite, got NaN or"):
            roi_score(revenue * value, cost)
        with pytest.raises(InvalidValueError, match="predicted cost must be finite, got NaN or"):
            roi_score(revenue, cost * value)
    with pytest.raises(DTypeError, match=r"predicted cost must be a tensor, got list"):
        roi_score(revenue, cost.tolist())
