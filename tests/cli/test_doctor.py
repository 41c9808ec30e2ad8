from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

import dfl as package
from dfl.cli import doctor
from dfl.data import DATASETS
from tests.cli.outcome import Dfl
from tests.cli.test_json import printed


def test_it_names_versions_extras_machine_and_data(dfl: Dfl) -> None:
    found = printed("doctor", "--json")["results"]
    assert found["versions"]["dfl"] == package.__version__
    assert found["versions"]["torch"] == torch.__version__
    assert "numba" in found["extras"]
    assert not {"dev", "test", "peers"} & found["extras"].keys()
    assert found["machine"]["threads of torch"].startswith(str(torch.get_num_threads()))
    assert found["data"].keys() == set(DATASETS) - {"columns", "simulated-experiment"}
    assert found["data"]["coupon"] == "built in"
    assert "Linux" in dfl("doctor").text or "accelerators" in dfl("doctor").text


def test_a_file_that_is_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gotv.parquet").touch()
    monkeypatch.setenv("DFL_DATA", str(tmp_path))
    found = printed("doctor", "--json")
    assert found["results"]["data"]["gotv"] == str(tmp_path / "gotv.parquet")
    assert found["results"]["data"]["hillstrom"].startswith("not found; looked for hillstrom.p")
    assert found["results"]["machine"]["DFL_DATA"] == str(tmp_path)


def test_what_is_missing_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DFL_DATA", raising=False)
    lines = ["numpy>=1", "far-away>=2", 'remote>=1; extra == "far"', 'x>=1; extra == "dev"']
    monkeypatch.setattr(doctor, "requires", lambda _: lines)
    found = printed("doctor", "--json")
    assert found["results"]["extras"] == {"far": "remote not installed"}
    assert found["said"] == [
        "For more parts: pip install 'dfl-toolkit[far]'. Public data files are found in the "
        "folder that DFL_DATA names. Required and not installed: far-away."
    ]


def test_nothing_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(_: str) -> list[str]:
        raise PackageNotFoundError

    monkeypatch.setenv("DFL_DATA", "somewhere")
    monkeypatch.setattr(doctor, "requires", not_installed)
    assert printed("doctor", "--json")["said"] == ["Nothing is missing."]
