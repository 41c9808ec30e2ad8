import torch

from dfl.scale import over_ranks


def test_one_process_has_the_sum_itself() -> None:
    value = torch.tensor([1.0, 2.0])
    assert over_ranks(value) is value


def test_gradients_flow_through_the_sum() -> None:
    value = torch.tensor(3.0, requires_grad=True)
    over_ranks(value * value).backward()
    assert value.grad is not None
    assert float(value.grad) == 6.0
