"""A small batch, and what the lab finds on it."""

import pytest

from dfl.data import UpliftData
from dfl.lab import Findings, Lab
from tests.methods.toy import logs

LAB = Lab(rows=240, draws=2, patience=5.0)


@pytest.fixture(scope="package")
def batch() -> UpliftData:
    return logs(240, seed=3)


@pytest.fixture(scope="package")
def found(batch: UpliftData) -> Findings:
    return LAB.run(batch)
