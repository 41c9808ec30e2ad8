import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dfl.errors import InvalidValueError, MissingExtraError
from dfl.kernels import by_triton, check_triton, triton_asked_for, triton_kernels
from dfl.solvers.passes import passes_for

CPU, META = torch.device("cpu"), torch.device("meta")
ONE = torch.ones(2)


def test_kernels_are_off_unless_asked_for() -> None:
    pytest.importorskip("triton", reason="needs the extra triton")
    assert not by_triton(ONE)
    with triton_kernels():
        assert by_triton(ONE, ONE.double(), torch.zeros(2, dtype=torch.int64))
        assert not by_triton(ONE, ONE.half())
        assert not by_triton(ONE.to("meta"))
        assert not by_triton(ONE.clone().requires_grad_())
        with torch.no_grad():
            assert by_triton(ONE.clone().requires_grad_())
        assert type(passes_for("auto", CPU)).__name__ == "TritonPasses"
        assert type(passes_for("auto", META)).__name__ == "TorchPasses"
    assert not triton_asked_for(CPU)
    assert type(passes_for("triton", CPU)).__name__ == "TritonPasses"


def test_wrong_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", reason="needs the extra triton")
    with pytest.raises(InvalidValueError, match=r"works on CUDA devices, got tensors on meta; use"):
        passes_for("triton", META)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(InvalidValueError, match=r"got tensors on cpu; .* TRITON_INTERPRET=1"):
        check_triton(CPU)
    with triton_kernels():
        assert not by_triton(ONE)


def test_kernels_without_triton_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfl.kernels.switch.find_spec", lambda _: None)
    with (
        pytest.raises(MissingExtraError, match=r"pip install 'dfl-toolkit\[triton\]', or use"),
        triton_kernels(),
    ):
        pass
    with pytest.raises(MissingExtraError, match=r"dfl-toolkit\[triton\]"):
        passes_for("triton", torch.device("cuda"))


def test_every_kernel_compiles_for_a_gpu(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="needs the extra triton")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.ahead_of_time"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 9 * 2 * 2  # kernels, dtypes, one person and many
