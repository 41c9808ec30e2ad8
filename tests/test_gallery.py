"""Every picture of the gallery is drawn by its script, without a warning."""

import runpy
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from tests.conftest import ROOT

SCRIPTS = sorted((ROOT / "docs" / "gallery").glob("plot_*.py"))


@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda one: one.stem.removeprefix("plot_"))
def test_a_script_draws_its_picture(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(script)])
    plt.close("all")
    plt.switch_backend("agg")
    runpy.run_path(str(script))
    (number,) = plt.get_fignums()
    assert any(axes.has_data() or axes.texts for axes in plt.figure(number).axes)
    plt.close("all")


def test_there_are_twelve_of_them() -> None:
    assert len(SCRIPTS) == 12
