"""Differentiable layers: from predicted revenue and cost to a soft allocation."""

if __name__ != "dfl.layers":
    raise ImportError("import dfl.layers, not layers: the root folder 'layers' is a signpost.")

from dfl.layers.base import AbstractLayer, SoftAllocation
from dfl.layers.softmax import Softmax
from dfl.registry import Registry

__all__ = ["LAYERS", "AbstractLayer", "SoftAllocation", "Softmax"]

LAYERS: Registry[AbstractLayer] = Registry(
    "layers",
    AbstractLayer,  # type: ignore[type-abstract]  # the interface itself, never instantiated
    {"softmax": "dfl.layers.softmax:Softmax"},
)
