"""The lab: every registered layer and hypergradient on one batch, side by side."""

from dfl.lab.findings import Finding, Findings
from dfl.lab.lab import Lab

__all__ = ["Finding", "Findings", "Lab"]
