"""Metrics: what an allocation earns and how sure that is, from logs or from the truth."""

from dfl.metrics.aucc import CostCurve, aucc, cost_curve
from dfl.metrics.bootstrap import Bootstrap, Estimate
from dfl.metrics.eom import ExpectedOutcome, eom_curve, expected_outcome
from dfl.metrics.paired import PairedComparison, paired_difference, paired_ratio
from dfl.metrics.qini import Qini, qini
from dfl.metrics.reference import ReferenceOutcome, best_constant_mix, random_allocation
from dfl.metrics.roi_score import roi_score
from dfl.metrics.spend_curve import CurvePoint, SpendCurve, observed_curve, true_curve
from dfl.metrics.truth import (
    PolicyValue,
    TrueOutcome,
    TrueScale,
    check_not_above_oracle,
    policy_value,
)

__all__ = [
    "Bootstrap",
    "CostCurve",
    "CurvePoint",
    "Estimate",
    "ExpectedOutcome",
    "PairedComparison",
    "PolicyValue",
    "Qini",
    "ReferenceOutcome",
    "SpendCurve",
    "TrueOutcome",
    "TrueScale",
    "aucc",
    "best_constant_mix",
    "check_not_above_oracle",
    "cost_curve",
    "eom_curve",
    "expected_outcome",
    "observed_curve",
    "paired_difference",
    "paired_ratio",
    "policy_value",
    "qini",
    "random_allocation",
    "roi_score",
    "true_curve",
]
