"""Regressions that adjust a metric for covariates."""

__all__: list[str] = []
