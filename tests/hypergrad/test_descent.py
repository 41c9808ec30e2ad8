import torch

from dfl.hypergrad.descent import moved, rose


def test_a_step_has_a_length_per_member() -> None:
    parameters = {"a": torch.ones(2, 3), "b": torch.ones(2)}
    slopes = [torch.ones(2, 3), torch.ones(2)]
    found = moved(parameters, slopes, torch.tensor([0.5, 2.0]))
    assert found["a"].tolist() == [[0.5] * 3, [-1.0] * 3]
    assert found["b"].tolist() == [0.5, -1.0]
    shared = moved(parameters, slopes, torch.tensor(1.0))
    assert not bool(shared["a"].any())


def test_rounding_is_no_rise_and_nan_is_one() -> None:
    before = torch.tensor([1.0, 1.0, -1.0, 1.0, 1.0])
    after = torch.tensor([1.0 + 2e-7, 0.5, -0.9, float("nan"), float("inf")])
    assert rose(before, after).tolist() == [False, False, True, True, True]
