"""Fixtures that every test may ask for."""

import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from tests.far_device import far

# Triton reads this as kernels are defined, and its own library as it is imported.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

ROOT = Path(__file__).resolve().parent.parent

# No deadline, because shared machines stall; the same examples in every run; `device` and `dtype`
# never change within a test, so that Hypothesis need not reset them between examples.
settings.register_profile(
    "dfl",
    deadline=None,
    derandomize=True,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("dfl")

DEVICES = ("cpu", "far", *(("cuda",) if torch.cuda.is_available() else ()))


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Every kind of device this machine has, and one that only refuses to mix with the CPU."""
    with far() if request.param == "far" else nullcontext():
        yield torch.device(request.param)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """Both dtypes that dfl computes in."""
    kind: torch.dtype = request.param
    return kind


@pytest.fixture
def generator() -> torch.Generator:
    """A fresh source of random numbers on the CPU, always from the same seed."""
    return torch.Generator().manual_seed(20260101)


@pytest.fixture(scope="session")
def real_data() -> Path | None:
    """Folder of the real data files: DFL_DATA, else ../shared/data, else None."""
    named = os.environ.get("DFL_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None
