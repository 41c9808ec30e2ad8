import os
import subprocess
import sys
from pathlib import Path

import pytest

from dfl.scale import cached

PROGRAM = """
import torch
from dfl import AllocationProblem
from dfl.solvers import GreedyDual
revenue = torch.tensor([[1.0, 3.0], [1.0, 2.0], [0.5, 0.25]])
cost = torch.tensor([[0.0, 1.0]]).expand(3, 2)
print(GreedyDual(backend="numba").solve(AllocationProblem(revenue, cost, 1.0)).choice.tolist())
"""


def solve(folder: Path | None, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    if folder is not None:
        own["NUMBA_CACHE_DIR"] = str(folder)
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        env=own | environment,
    )


def test_files_that_cannot_be_read_are_replaced_and_said_once(tmp_path: Path) -> None:
    first = solve(tmp_path)
    assert (first.stdout, first.stderr) == ("[1, 0, 0]\n", "")
    kept = [path for path in tmp_path.rglob("*") if path.suffix in (".nbi", ".nbc")]
    assert {path.suffix for path in kept} == {".nbi", ".nbc"}
    for path in kept:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    broken = solve(tmp_path)
    assert broken.stdout == "[1, 0, 0]\n"
    assert broken.stderr.count("RuntimeWarning: numba") == 1
    assert "were kept in files that cannot be read" in broken.stderr
    again = solve(tmp_path)
    assert (again.stdout, again.stderr) == ("[1, 0, 0]\n", "")


def test_without_any_place_to_keep_them_they_still_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nowhere(function: object) -> None:
        raise RuntimeError(f"cannot cache function {function}: no locator available")

    monkeypatch.setattr(cached, "_said", [])
    monkeypatch.setattr(cached, "_ForgivingCache", nowhere)
    with pytest.warns(RuntimeWarning, match="cannot be kept .*set NUMBA_CACHE_DIR") as said:
        double, triple = (cached.cached_njit()(lambda x, k=k: k * x) for k in (2, 3))
    assert len(said) == 1
    assert (double(4), triple(4)) == (8, 12)


def test_a_full_disk_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, sig: object, data: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cached, "_said", [])
    monkeypatch.setattr(cached.FunctionCache, "save_overload", full)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    double = cached.cached_njit()(_double)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        assert double(21) == 42


def _double(x: int) -> int:
    return 2 * x
