from pathlib import Path

import pytest

from dfl.pipeline import RunFolder
from tests.cli.outcome import Dfl
from tests.pipeline.tiny import tiny_study


def test_a_report_is_drawn_anew(dfl: Dfl, shop: Path) -> None:
    page = shop / "run" / "report.html"
    before = page.read_bytes()
    page.unlink()
    done = dfl("report", shop / "run")
    assert done.code == 0, done.text
    assert "shop: value within the budget" in done.text
    assert "AUCC" in done.text
    assert page.read_bytes() == before


def test_a_run_that_did_not_finish(dfl: Dfl, tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", tiny_study().config)
    done = dfl("report", tmp_path / "run")
    assert done.code == 2
    assert "metrics.json is missing: the run did not finish" in done.text


def test_a_reference_is_for_suites(dfl: Dfl, shop: Path) -> None:
    done = dfl("report", shop / "run", "--reference", "tsm-sl")
    assert (done.code, "--reference is for suites" in done.text) == (2, True)


def test_a_folder_of_somebody_else_is_read_and_what_is_not_drawn_is_said(
    dfl: Dfl, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("dfl.pipeline.lock._open_held", refused)  # root may write all
    done = dfl("report", shop / "run")
    assert done.code == 2
    assert "AUCC" in done.text
    assert "Permission denied; nothing was written there. It must be a folder that you" in done.text
    assert "Page:" not in done.text
