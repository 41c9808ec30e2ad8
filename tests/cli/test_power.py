import json
from pathlib import Path

from dfl.pipeline import RunFolder
from dfl.stats.needed import rows_needed
from tests.cli.outcome import Dfl
from tests.pipeline.tiny import tiny_study


def test_the_rows_that_a_decision_needs(dfl: Dfl, shop: Path) -> None:
    metrics = json.loads((shop / "run" / "metrics.json").read_text())
    given, one = next(iter(metrics["against_best_mix"].items()))
    rows = metrics["rows"]["test"]
    seen = dfl("power", shop / "run")
    assert seen.code == 0, seen.text
    assert given in seen.text
    assert f"{rows_needed(one['value'], one['standard_error'], rows):,}" in seen.text
    asked = dfl("power", shop / "run", "--gain", 0.25, "--power", 0.9, "--level", 0.99)
    needed = rows_needed(0.25, one["standard_error"], rows, level=0.99, power=0.9)
    assert f"{needed:,}" in asked.text
    assert "no number tells it" in dfl("power", shop / "run", "--gain", 0).text


def test_what_has_no_difference_is_refused(dfl: Dfl, shop: Path, tmp_path: Path) -> None:
    wrong = dfl("power", shop / "run", "--power", 1)
    assert (wrong.code, "power must be in (0.025, 1), got 1" in wrong.text) == (2, True)
    nothing = dfl("power", tmp_path)
    assert nothing.code == 2


def test_a_folder_without_differences_is_refused(dfl: Dfl, tmp_path: Path) -> None:
    old = RunFolder.create(tmp_path / "old", tiny_study().config)
    old.write_json("metrics.json", {"rows": {"test": 10}})
    old.seal("metrics.json")
    (old.path / "report.html").write_text("")
    done = dfl("power", tmp_path / "old")
    assert (done.code, "no difference to the best constant mix" in " ".join(done.text.split())) == (
        2,
        True,
    )
    RunFolder.create(tmp_path / "both", {"runs": []})
    done = dfl("power", tmp_path / "both")
    assert (
        done.code,
        "folder; name that of one of its methods" in " ".join(done.text.split()),
    ) == (2, True)
