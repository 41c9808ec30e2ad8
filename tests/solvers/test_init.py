import subprocess
import sys

import dfl.solvers


def test_the_solvers_import_nothing_but_torch_and_numpy() -> None:
    code = (
        "import sys, torch, dfl; before = set(sys.modules); import dfl.solvers; "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - sys.stdlib_module_names == {"dfl", "numpy"}


def test_everything_exported_is_there() -> None:
    assert all(hasattr(dfl.solvers, name) for name in dfl.solvers.__all__)
    shipped = {
        "cutting-planes",
        "dual-ascent",
        "dual-bisection",
        "greedy-dual",
        "linear-program",
        "mixed-integer",
    }
    assert set(dfl.solvers.SOLVERS.names()) >= shipped
