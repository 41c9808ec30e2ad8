import torch

from dfl.hypergrad import ComposedLoss


def test_it_is_the_criterion_of_the_outputs() -> None:
    loss = ComposedLoss(
        lambda inner, outer: (inner["a"] * outer["b"], inner["a"]),
        lambda found, outer: found[0].sum() + outer["b"].sum() * found[1].sum(),
    )
    value = loss({"a": torch.tensor([1.0, 2.0])}, {"b": torch.tensor([3.0, 5.0])})
    assert value == 13 + 8 * 3
