"""Simulated experiments with known effects: STATE's own design, and where STATE fails."""

from dfl.abtest.simulators.constant_shift import ConstantShift
from dfl.abtest.simulators.heavy_tailed_count import HeavyTailedCount
from dfl.abtest.simulators.heavy_tailed_ratio import HeavyTailedRatio
from dfl.abtest.simulators.multiplicative_spend import MultiplicativeSpend
from dfl.abtest.simulators.population import AbstractDesign, Population
from dfl.abtest.simulators.sparse_effect import SparseEffect

__all__ = [
    "AbstractDesign",
    "ConstantShift",
    "HeavyTailedCount",
    "HeavyTailedRatio",
    "MultiplicativeSpend",
    "Population",
    "SparseEffect",
]
