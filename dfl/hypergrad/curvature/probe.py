"""`probe`: random vectors that do not depend on dtype, device or order of parameters."""

import torch
from torch import Tensor

from dfl.hypergrad.base import Parameters
from dfl.hypergrad.layout import Layout

__all__ = ["probe"]


def probe(inner: Parameters, layout: Layout, generator: torch.Generator, *, columns: int) -> Tensor:
    """Draw standard normal columns over one member's flat parameters.

    Args:
        inner: inner parameters, for names, dtype and device.
        layout: their order and sizes.
        generator: where the numbers come from.
        columns: how many.

    Returns:
        Shape ``(n, columns)``, in the dtype and on the device of ``inner``.
    """
    sizes = dict(zip(inner, layout.sizes, strict=True))
    drawn = {
        name: torch.randn(
            (sizes[name], columns),
            generator=generator,
            device=generator.device,
            dtype=torch.float32,
        )
        for name in sorted(sizes)
    }
    return torch.cat([drawn[name] for name in inner]).to(next(iter(inner.values())))
