"""``dfl run`` in several processes; the first one writes."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dfl.config import to_yaml
from dfl.pipeline import RunFolder
from dfl.pipeline.helpers import _slice
from tests.methods.toy import training_set
from tests.pipeline.tiny import tiny_config
from tests.scale.in_processes import start_processes

LONG = {"epochs": 60, "min_steps": 600, "members": 2, "weight_decay": [0.1]}


def ended(*arguments: object, processes: int = 2) -> list[tuple[int, str, str]]:
    """Return exit code, output and errors of each process of a run."""
    running = start_processes("-m", "dfl", "run", *map(str, arguments), processes=processes)
    said = [one.communicate(timeout=300) for one in running]
    return [(one.returncode, *text) for one, text in zip(running, said, strict=True)]


def numbers(value: Any) -> list[float]:
    """Return all numbers of plain data, in order."""
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return [one for part in parts for one in numbers(part)]
    return [] if value is None else [float(value)]


def test_each_process_is_sent_its_part_of_the_rows() -> None:
    whole = training_set(0)
    groups = torch.arange(256)
    whole = replace(whole, rct=replace(whole.rct, groups=groups), obs=None)  # type: ignore[type-var]
    parts = [_slice(whole, rank, 3) for rank in range(3)]
    assert [len(part.rct or ()) for part in parts] == [85, 85, 86]
    for name in ("rct", "validation"):
        for column in ("features", "treatment", "revenue", "cost"):
            own = torch.cat([getattr(getattr(part, name), column) for part in parts])
            assert own.equal(getattr(getattr(whole, name), column))
    assert torch.cat([part.rct.groups for part in parts if part.rct]).equal(groups)  # type: ignore[misc]
    assert {part.obs for part in parts} == {None}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(to_yaml(tiny_config("dfcl")))
    return path


def test_the_first_of_two_processes_writes_what_one_would(config: Path, tmp_path: Path) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    first, second = ended(config, "-o", two, "--json")
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert "Run folder" in first[1]
    assert second[1:] == ("", "")
    assert ended(config, "-o", one, processes=1)[0][0] == 0
    assert {file.name for file in two.iterdir()} == {file.name for file in one.iterdir()}
    assert RunFolder.open(two).finished
    histories = [numbers(RunFolder.open(path).read_json("history.json")) for path in (two, one)]
    assert histories[0] == pytest.approx(histories[1], rel=1e-3, abs=1e-3)  # of float32
    again = ended("-o", two, "--resume")
    assert [code for code, _, _ in again] == [0, 0]
    assert "nothing to do" in again[0][2]


def test_a_killed_process_ends_the_other_and_the_run_goes_on(config: Path, tmp_path: Path) -> None:
    config.write_text(to_yaml(tiny_config("tsm-sl", training=LONG)))
    path = tmp_path / "run"
    first, second = start_processes("-m", "dfl", "run", str(config), "-o", str(path))
    while not [*path.glob("checkpoints/*.safetensors")]:
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    second.kill()
    said = first.communicate(timeout=120)[1]
    second.communicate()
    assert first.returncode == 2
    assert second.returncode == -9
    assert "another of the processes that work together has ended" in said
    assert "dfl run goes on with --resume" in said
    assert not RunFolder.open(path).finished
    assert [code for code, _, _ in ended("-o", path, "--resume")] == [0, 0]
    found = RunFolder.open(path)
    assert found.finished
    assert found.read_json("timing.json")["after_resuming"]
    assert len(found.read_json("history.json")["target"]) == LONG["epochs"]
