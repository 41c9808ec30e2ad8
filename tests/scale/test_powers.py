import pytest
import torch

from dfl.scale import power_of_two


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_unit_is_the_least_power_of_two_that_holds_the_size(dtype: torch.dtype) -> None:
    sizes = torch.tensor([1.0, 1.5, 2.0, 3.99, 0.3, 1e-30, 1e30], dtype=dtype)
    units = power_of_two(sizes)
    assert units.dtype == dtype
    assert units[:5].tolist() == [1.0, 2.0, 2.0, 4.0, 0.5]
    assert bool(((units / 2 < sizes) & (sizes <= units)).all())


def test_dividing_by_the_unit_and_multiplying_again_rounds_nothing() -> None:
    sizes = torch.rand(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    units = power_of_two(sizes)
    assert (sizes / units * units).equal(sizes)


def test_nothing_has_a_unit_too() -> None:
    assert float(power_of_two(torch.zeros(()))) == 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_largest_numbers_have_a_unit_that_is_finite(dtype: torch.dtype) -> None:
    largest = torch.tensor(torch.finfo(dtype).max, dtype=dtype)
    assert 1 < float(largest / power_of_two(largest)) < 2
