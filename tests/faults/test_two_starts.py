"""Two processes in one folder: exactly one works there."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dfl.config import to_yaml
from dfl.errors import RunFolderError
from dfl.pipeline import RunFolder, Silent, locked, resume, run
from dfl.pipeline import lock as module
from tests.faults.injected import KilledError
from tests.pipeline.tiny import Noting, tiny_config, tiny_study


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dfl", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("how_often", [1, pytest.param(24, marks=pytest.mark.faults)])
def test_of_two_starts_exactly_one_wins(how_often: int, tmp_path: Path) -> None:
    for seed in (0, 1):
        config = tiny_config("tsm-sl", seed=seed)
        (tmp_path / f"seed-{seed}.yaml").write_text(to_yaml(config))
    for attempt in range(how_often):
        path = tmp_path / f"run-{attempt}"
        both = [start("run", tmp_path / f"seed-{seed}.yaml", "-o", path) for seed in (0, 1)]
        texts = [one.communicate(timeout=120)[0] for one in both]
        codes = [one.returncode for one in both]
        assert sorted(codes) == [0, 2], texts
        assert "Traceback" not in "".join(texts)
        loser = texts[codes.index(2)]
        assert "is in use by" in loser or "already holds a run" in loser
        folder = RunFolder.open(path)
        assert folder.config["seed"] == folder.read_json("metrics.json")["seed"] == codes.index(0)
        assert folder.finished


def test_a_live_folder_is_neither_resumed_nor_reported(tmp_path: Path) -> None:
    tried = []

    def try_it() -> None:
        with pytest.raises(RunFolderError, match=f"is in use by process {os.getpid()} on") as found:
            resume(tmp_path / "run", Silent())
        tried.append(found)

    run(tiny_study(), tmp_path / "run", Noting(1, act=try_it))
    assert len(tried) == 1
    assert not (tmp_path / "run" / ".lock").exists()


def test_the_lock_of_a_dead_process_is_no_lock(tmp_path: Path) -> None:
    def die() -> None:
        raise KilledError

    with pytest.raises(KilledError):
        run(tiny_study(), tmp_path / "run", Noting(1, act=die))
    (tmp_path / "run" / ".lock").write_text('{"pid": 1, "host": "elsewhere"}')
    assert resume(tmp_path / "run", Silent()).finished
    assert not (tmp_path / "run" / ".lock").exists()


def holder(**changed: object) -> str:
    started = module._started(os.getpid())
    me = {"pid": os.getpid(), "host": socket.gethostname(), "started": started, "at": time.time()}
    return json.dumps(me | changed)


@pytest.mark.parametrize(
    ("content", "alive"),
    [
        (holder(), True),
        (holder(started="long ago"), False),  # the number was given to another process since
        (holder(pid=2**22 + 1), False),
        (holder(host="elsewhere"), True),  # nobody here can tell
        ("", False),
        ("{", False),
        ("[3]", False),
    ],
    ids=["now", "before", "no process", "elsewhere", "empty", "cut off", "list"],
)
def test_where_the_file_system_has_no_locks_the_holder_is_looked_up(
    content: str, alive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_flock", lambda descriptor: None)
    (tmp_path / ".lock").write_text(content)
    if alive:
        with pytest.raises(RunFolderError, match="is in use by process"), locked(tmp_path):
            pass
        assert (tmp_path / ".lock").read_text() == content
    else:
        with (
            locked(tmp_path),
            pytest.raises(RunFolderError, match="is in use by process"),
            locked(tmp_path),
        ):
            pass
        assert not (tmp_path / ".lock").exists()
