"""The tutorials run as they stand: files are written, snippets and commands follow one another."""

import re
import shlex
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.cli.outcome import invoke
from tests.conftest import ROOT

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_runs_from_start_to_end(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    space: dict[str, Any] = {"__name__": page.stem}
    blocks = re.findall(
        r"^```(python|yaml|console)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S
    )
    for number, (kind, text) in enumerate(blocks):
        if kind == "python":
            exec(compile(text, f"{page.name}, block {number}", "exec"), space)
        elif kind == "yaml":
            name = re.fullmatch(r"# (\S+\.yaml)", text.splitlines()[0])
            assert name, f"{page.name}, block {number}: the first line names the file"
            (tmp_path / name[1]).write_text(text, encoding="utf-8")
        else:
            _run_commands(text)


def _run_commands(text: str) -> None:
    for line in text.splitlines():
        prompt, program, *arguments = shlex.split(line)
        assert (prompt, program) == ("$", "dfl"), line
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # a command shows its warnings
            done = invoke(*arguments)
        assert done.code == 0, f"{line}\n{done.text}"


def test_there_is_a_tutorial_for_each_kind_of_reader() -> None:
    readers = ["data_scientist", "engineer", "experimenter", "researcher"]
    assert [page.stem for page in TUTORIALS] == readers
