"""What `Stochastic` is made of: formulations, the integer programme, sample averages."""

from dfl.solvers.scenarios.formulations import (
    FORMULATIONS,
    AbstractFormulation,
    ChanceConstraint,
    ExpectedValue,
    MeanRisk,
    SimpleRecourse,
    WorstCase,
)

__all__ = [
    "FORMULATIONS",
    "AbstractFormulation",
    "ChanceConstraint",
    "ExpectedValue",
    "MeanRisk",
    "SimpleRecourse",
    "WorstCase",
]
