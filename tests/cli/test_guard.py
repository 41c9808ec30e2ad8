import signal
import subprocess
import sys
import warnings

import pytest
import typer
from typer.testing import CliRunner

from dfl.cli.guard import GuardedGroup, interruptible
from dfl.errors import ConfigError
from tests.conftest import ROOT


def command(error: BaseException) -> typer.Typer:
    app = typer.Typer(cls=GuardedGroup)

    @app.callback()
    def options(debug: bool = False) -> None:
        """Take what the real command line takes."""

    @app.command()
    def fail() -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("seed: no."), 2, "error: seed: no."),
        (ConfigError("seed: a\n  b."), 2, "error: seed: a b."),
        (PermissionError(13, "Permission denied", "a/b"), 2, "error: a/b: Permission denied."),
        (OSError(5, "Input/output error"), 2, "error: Input/output error."),
        (MemoryError(), 2, "error: not enough memory; take fewer rows, members or a smaller batch"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            2,
            "error: not enough memory;",
        ),
        (RuntimeError("odd"), 70, "error: unforeseen RuntimeError: odd. This is a fault of dfl;"),
        (RecursionError("deep"), 70, "error: unforeseen RecursionError: deep."),
        (KeyboardInterrupt(), 130, "Stopped."),
        (ConfigError("name [red]x[/red] :boom: \x1b[2J"), 2, r"[red]x[/red] :boom: \x1b[2J"),
    ],
)
def test_every_error_is_one_line_and_a_code(error: BaseException, code: int, line: str) -> None:
    done = CliRunner().invoke(command(error), ["fail"])
    assert done.exit_code == code
    assert line in done.output
    assert len(done.output.splitlines()) == 1


@pytest.mark.filterwarnings("default")
def test_a_warning_is_what_it_says_once() -> None:
    app = command(ConfigError("x"))

    @app.command()
    def warn() -> None:
        for _ in range(2):
            warnings.warn("column '[b]id[/b]' numbers the rows.", UserWarning, stacklevel=1)

    done = CliRunner().invoke(app, ["warn"])
    assert done.output == "warning: column '[b]id[/b]' numbers the rows.\n"


def test_debug_lets_every_error_through() -> None:
    for error in (ConfigError("x"), RuntimeError("x"), OSError(5, "x")):
        assert CliRunner().invoke(command(error), ["--debug", "fail"]).exception is error


def test_a_mistake_in_the_options_is_explained_by_typer() -> None:
    done = CliRunner().invoke(command(ConfigError("x")), ["fial"])
    assert done.exit_code == 2
    assert "No such command 'fial'" in done.output


def test_an_import_that_makes_another_error_of_ctrl_c_is_no_fault() -> None:
    app = command(ConfigError("x"))

    @app.command()
    def load() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise AttributeError("module 'numpy' has no attribute 'subtract'") from error

    around = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    try:
        with interruptible():
            done = CliRunner().invoke(app, ["load"])
        after = signal.getsignal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, around)
    assert (done.exit_code, done.output) == (130, "Stopped.\n")
    assert after is signal.default_int_handler
    assert CliRunner().invoke(app, ["fail"]).exit_code == 2


INTERRUPTED = """
import signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder())
signal.signal(signal.SIGINT, signal.default_int_handler)
from dfl.cli import main
main()
"""


@pytest.mark.parametrize("call", [("run",), ("explain", "tsm-sl"), ("list", "solvers")])
def test_ctrl_c_while_torch_is_imported_is_one_line(call: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *call],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Stopped.\n")
