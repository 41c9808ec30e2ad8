"""Fixtures that every test may ask for."""

import os
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser, sync_playwright

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

# DFL_BROWSER names a Chromium; "needed" makes it an error that there is none.
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")


def browser_path() -> str | None:
    """Return the Chromium of this machine, or None."""
    named = os.environ.get("DFL_BROWSER", "")
    if named not in ("", "needed"):
        return named
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def pytest_configure() -> None:
    """Stop where a browser is needed and there is none."""
    if os.environ.get("DFL_BROWSER") == "needed" and browser_path() is None:
        raise pytest.UsageError("DFL_BROWSER=needed, and no Chromium was found.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests in a browser where there is none."""
    if browser_path() is None:
        lost = [item for item in items if item.get_closest_marker("browser")]
        items[:] = [item for item in items if item not in lost]
        config.hook.pytest_deselected(items=lost)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say so; the process that sums up may have collected nothing itself."""
    if browser_path() is None:
        terminalreporter.section("LEFT OUT")
        terminalreporter.write_line(
            "Tests of the report's page in a browser: no Chromium was found. Install one "
            "(Debian: apt-get install chromium), or name one by DFL_BROWSER."
        )


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium without a window; tests that ask for it are marked ``browser``."""
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=browser_path(), args=[*quiet, "--disable-background-networking"]
        )
        yield found
        found.close()


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
