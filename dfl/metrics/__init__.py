"""Metrics: what an allocation earns and how sure that is, from logs or from the truth."""

from dfl.metrics.aucc import CostCurve, aucc, cost_curve
from dfl.metrics.constant_mix import best_constant_mix
from dfl.metrics.eom import ExpectedOutcome, eom_curve, expected_outcome
from dfl.metrics.qini import Qini, qini
from dfl.metrics.random_allocation import random_allocation
from dfl.metrics.roi_score import roi_score
from dfl.metrics.rows.constant_policy import ReferenceOutcome
from dfl.metrics.spend_curve import CurvePoint, SpendCurve, observed_curve, true_curve
from dfl.metrics.truth import (
    TrueOutcome,
    TruePolicyValue,
    TrueScale,
    check_not_above_oracle,
    true_policy_value,
)
from dfl.stats.bootstrap import Bootstrap, Estimate
from dfl.stats.paired import PairedComparison, paired_difference, paired_ratio

__all__ = [
    "Bootstrap",
    "CostCurve",
    "CurvePoint",
    "Estimate",
    "ExpectedOutcome",
    "PairedComparison",
    "Qini",
    "ReferenceOutcome",
    "SpendCurve",
    "TrueOutcome",
    "TruePolicyValue",
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
    "qini",
    "random_allocation",
    "roi_score",
    "true_curve",
    "true_policy_value",
]
