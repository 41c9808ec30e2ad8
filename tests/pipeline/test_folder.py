import json
from pathlib import Path

import pytest
import torch

import dfl
from dfl.config import from_yaml
from dfl.errors import ConfigError, DataError, RunFolderError, WriteError
from dfl.pipeline import RunFolder
from dfl.report.report import Report


def test_a_new_folder_holds_configuration_and_versions(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "runs" / "one", {"method": "tsm-sl", "seed": 3})
    assert folder.config == {"method": "tsm-sl", "seed": 3}
    assert from_yaml(folder.config_text, "x") == folder.config
    versions = folder.read_json("versions.json")
    assert versions["dfl"] == dfl.__version__
    assert versions["torch"] == torch.__version__
    assert not folder.finished


def test_an_empty_folder_is_free(tmp_path: Path) -> None:
    RunFolder.create(str(tmp_path), {})
    assert RunFolder.open(str(tmp_path)).config == {}


def test_a_folder_that_is_taken(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", {})
    with pytest.raises(RunFolderError, match="already holds a run; go on with it by --resume"):
        RunFolder.create(tmp_path / "run", {})
    with pytest.raises(RunFolderError, match="is not empty and holds no run"):
        RunFolder.create(tmp_path, {})
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="is a file; choose another folder"):
        RunFolder.create(tmp_path / "file", {})


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"is not a run folder: it holds no config.yaml"):
        RunFolder.open(tmp_path)


def test_files_that_are_missing_or_broken(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", {})
    with pytest.raises(RunFolderError, match=r"metrics.json is missing: the run did not finish"):
        folder.read_json("metrics.json")
    (folder.path / "metrics.json").write_text("{")
    folder.seal("metrics.json")
    with pytest.raises(DataError, match=r"metrics.json is unreadable"):
        folder.read_json("metrics.json")
    folder.write_bytes("metrics.json", b"[]")
    folder.seal("metrics.json")
    with pytest.raises(DataError, match=r"metrics.json must hold a JSON object, got list"):
        folder.read_json("metrics.json")
    (folder.path / "config.yaml").write_text("a: [")
    folder.seal("config.yaml")
    with pytest.raises(ConfigError, match="is not valid YAML"):
        _ = folder.config


def test_the_page_is_written_last_and_marks_the_end(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", {})
    (folder.checkpoints / "target.safetensors").touch()
    folder.write_report(Report("A run", [], {"a": lambda axes, results: None}, {}, "seed: 1"))
    assert folder.finished
    assert (folder.path / "plots" / "a.png").read_bytes().startswith(b"\x89PNG")
    folder.drop_checkpoints()
    assert not (folder.path / "checkpoints").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="could not make the folder"):
        RunFolder.create(tmp_path / "file" / "run", {})


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(tmp_path / "run", {})
    folder.write_json("metrics.json", {"a": 1})

    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(WriteError, match=r"report.html: No space left on device"):
        folder.write_bytes("report.html", b"page")
    assert not folder.finished
    assert json.loads((folder.path / "metrics.json").read_text()) == {"a": 1}
    assert not list(folder.path.glob("*.part"))


def test_a_start_that_was_stopped_at_once_leaves_the_folder_free(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / "versions.json").touch()
    (tmp_path / f".config.yaml.{'0' * 32}.part").touch()
    with pytest.raises(RunFolderError, match="was stopped before anything was done; run it again"):
        RunFolder.open(tmp_path)
    RunFolder.check_free(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RunFolderError, match="is not empty and holds no run"):
        RunFolder.check_free(tmp_path)


def test_a_folder_knows_which_command_made_it(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "one", {"method": "tsm-sl"})
    RunFolder.create(tmp_path / "all", {"runs": []})
    assert RunFolder.open(tmp_path / "one", of="run").kind == "run"
    assert RunFolder.open(tmp_path / "all", of="compare").kind == "compare"
    with pytest.raises(RunFolderError, match="was made by 'dfl compare', not by 'dfl run'"):
        RunFolder.open(tmp_path / "all", of="run")


def test_a_file_is_there_once_it_is_sealed(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", {})
    folder.write_bytes("model.safetensors", b"half a run")
    assert not folder.has("model.safetensors")
    folder.seal("model.safetensors")
    assert folder.has("model.safetensors")
    folder.write_bytes("model.safetensors", b"half a ruN")
    with pytest.raises(DataError, match="is not the file that the run wrote: its checksum differs"):
        folder.checked("model.safetensors")
    (folder.path / "manifest.json").write_text('{"files": {}, "checksum": ""}')
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        folder.checked("model.safetensors")


def test_a_folder_of_a_later_version_is_refused(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, {})
    later = folder.read_json("versions.json") | {"run_folder": 3, "dfl": "9.0.0"}
    folder.write_json("versions.json", later)
    folder.seal("versions.json")
    with pytest.raises(
        RunFolderError, match=r"was made by dfl 9\.0\.0, whose folders are of format 3, and"
    ):
        RunFolder.open(tmp_path)
