import io
import json
import os
import subprocess
import sys

import pytest

import dfl as package
from dfl.cli import main
from dfl.errors import ConfigError
from tests.cli.outcome import Dfl


def test_the_version(dfl: Dfl) -> None:
    assert dfl("--version").text == f"dfl {package.__version__}"


@pytest.mark.parametrize(
    "command",
    ["run", "compare", "allocate", "ab", "list", "explain", "report", "lab", "doctor"],
)
def test_every_command_explains_itself(dfl: Dfl, command: str) -> None:
    assert command in dfl("--help").text
    assert "Usage:" in dfl(command, "--help").text


def test_debug_lets_errors_through(dfl: Dfl) -> None:
    done = dfl("--debug", "run", "nothing")
    assert isinstance(done.exception, ConfigError)
    assert done.code == 1


def test_listing_waits_for_no_plots_tables_or_solvers() -> None:
    code = (
        "import sys\nfrom dfl.cli import main\nsys.argv = ['dfl', 'list', 'solvers']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "late = {'matplotlib', 'pandas', 'pyarrow'}\n"
        "late |= {f'scipy.{part}' for part in ('linalg', 'optimize', 'sparse')}\n"
        "print(sorted(late & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "greedy-dual" in done.stdout
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_allocating_waits_for_no_plots_and_no_linear_programs() -> None:
    code = (
        "import sys, dfl.cli.allocate, dfl.cli.plan\n"
        "print(sorted({'matplotlib', 'pandas', 'scipy.optimize'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


OFFERED = {
    "dfl al": {"allocate"},
    "dfl list me": {"methods"},
    "dfl run --budget-p": {"--budget-per-head"},
    "dfl help": {"help"},
}


def test_a_shell_is_offered_what_can_follow() -> None:
    code = (
        "import contextlib, json, os, sys\nfrom dfl.cli import main\nsys.argv = ['dfl']\n"
        "os.environ['_DFL_COMPLETE'] = 'complete_bash'\n"
        "for words in json.loads(os.environ['ASKED']):\n"
        "    print('asked', words)\n"
        "    os.environ |= {'COMP_WORDS': words, 'COMP_CWORD': str(len(words.split()) - 1)}\n"
        "    with contextlib.suppress(SystemExit):\n        main()"
    )
    asked = {**os.environ, "ASKED": json.dumps([*OFFERED])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=asked, capture_output=True, text=True, check=True
    )
    found: dict[str, set[str]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("asked "):
            offered = found[line.removeprefix("asked ")] = set()
        else:
            offered.add(line)
    assert found == OFFERED


def test_shells_can_be_told_how_to_complete(dfl: Dfl) -> None:
    assert "--install-completion" in dfl("--help").text


def test_commands_that_work_in_one_process_refuse_several(
    dfl: Dfl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    done = dfl("list", "solvers")
    assert done.code == 2
    assert "error: dfl list works in one process, and torchrun started 2; start it" in done.text


def test_what_the_output_has_no_letters_for_is_spelt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setitem(main.__globals__, "app", lambda: print("gr\u00f6\u00dfe \u65e5"))
    main()
    output.flush()
    assert output.buffer.getvalue() == b"gr\\xf6\\xdfe \\u65e5\n"  # type: ignore[attr-defined]


WRITING = {
    "run": (),
    "compare": (),
    "allocate": ("run", "people.parquet"),
    "plan": ("run", "people.parquet"),
    "segment": (),
    "export": ("run",),
    "ab": ("people.parquet", "--treatment", "arm", "--metric", "money"),
    "lab": (),
}


@pytest.mark.parametrize("command", WRITING)
def test_no_output_is_called_by_a_dash(dfl: Dfl, command: str) -> None:
    done = dfl(command, *WRITING[command], "-o", "-")
    assert done.code == 2
    assert "--output must name a file or a folder, got '-'; on the standard output" in done.text


def test_other_files_are_not_called_by_a_dash_either(dfl: Dfl) -> None:
    for call in (
        ("plan", "run", "people.csv", "-o", "a.csv", "--summary"),
        ("segment", "--assign"),
    ):
        done = dfl(*call, "-")
        assert (done.code, f"{call[-1]} must name a file" in done.text) == (2, True)
