import torch

from dfl.hypergrad.curvature import probe
from dfl.hypergrad.layout import Layout
from tests.hypergrad.problems import network


def test_order_members_and_dtype_change_nothing_but_the_layout() -> None:
    inner = network().inner

    def draw(parameters: dict[str, torch.Tensor], members: int | None) -> list[torch.Tensor]:
        layout = Layout.of(parameters, members)
        generator = torch.Generator().manual_seed(3)
        flat = probe(parameters, layout, generator, columns=2)
        parts = dict(zip(parameters, flat.split(layout.sizes), strict=True))
        return [parts[name].double() for name in sorted(parts)]

    plain = draw(inner, None)
    turned = draw(dict(reversed(inner.items())), None)
    stacked = draw({name: value.expand(3, *value.shape) for name, value in inner.items()}, 3)
    single = draw({name: value.float() for name, value in inner.items()}, None)
    for other in (turned, stacked, single):
        assert all(map(torch.equal, plain, other))
    assert 0.5 < float(torch.cat(plain).std()) < 1.5
