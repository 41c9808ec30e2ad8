"""`Family`: what ``dfl list`` lists."""

from enum import StrEnum
from typing import final

__all__ = ["Family"]


@final
class Family(StrEnum):
    """What can be listed."""

    solvers = "solvers"
    layers = "layers"
    hypergrad = "hypergrad"
    losses = "losses"
    methods = "methods"
    data = "data"
    abtest = "abtest"
    suites = "suites"
