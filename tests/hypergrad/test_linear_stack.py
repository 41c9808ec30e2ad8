import pytest
import torch
from torch import nn

from dfl.errors import ShapeError, UnsupportedProblemError
from dfl.hypergrad import LinearStack


@pytest.mark.parametrize(
    ("layers", "match"),
    [
        ((nn.Linear(3, 2), nn.Dropout(), nn.Linear(2, 1)), "alternate .* got Dropout at 1"),
        ((nn.ReLU(), nn.Linear(3, 2)), "alternate .* got ReLU at 0"),
        ((nn.Linear(3, 2), nn.ReLU()), "must end with a Linear layer, got 2 layers"),
        ((), "must end with a Linear layer, got 0 layers"),
    ],
)
def test_other_networks_are_refused(layers: tuple[nn.Module, ...], match: str) -> None:
    with pytest.raises(UnsupportedProblemError, match=match):
        LinearStack(nn.Sequential(*layers), torch.ones(5, 3))


def test_features_must_fit() -> None:
    with pytest.raises(ShapeError, match=r"features must be \(rows, 3\) .* got \(5, 4\)"):
        LinearStack(nn.Sequential(nn.Linear(3, 1)), torch.ones(5, 4))


def test_it_computes_what_the_network_computes() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ELU(), nn.Linear(4, 2, bias=False))
    features = torch.linspace(-1, 1, 15).reshape(5, 3)
    torch.testing.assert_close(LinearStack(network, features)({}, {}), network(features))
