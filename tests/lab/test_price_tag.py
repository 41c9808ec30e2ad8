import torch

from dfl.lab.price_tag import PriceTag


def test_memory_is_that_of_tensors_alive_at_once() -> None:
    given = torch.zeros(1000, dtype=torch.float64)

    def one_after_the_other() -> None:
        for _ in range(5):
            given + 1

    def together() -> list[torch.Tensor]:
        return [given + 1 for _ in range(5)]

    assert PriceTag.memory(one_after_the_other) == 8e-3
    assert PriceTag.memory(together) == 40e-3
    assert PriceTag.memory(lambda: given.reshape(10, 100)) == 0


def test_time_is_that_of_the_call() -> None:
    found, seconds = PriceTag.timed(lambda: sum(range(200_000)), torch.device("cpu"))
    assert found == 19_999_900_000
    assert 0 < seconds < 10
