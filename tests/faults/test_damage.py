"""Files of a run folder that were damaged, swapped or taken from another run."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dfl.pipeline import RunFolder, Silent, run
from tests.cli.outcome import invoke
from tests.faults.injected import KilledError
from tests.pipeline.tiny import Noting, tiny_study, write_shop

SEALED = (
    "config.yaml",
    "encoder.json",
    "history.json",
    "manifest.json",
    "metrics.json",
    "model.safetensors",
    "timing.json",
    "versions.json",
)
# Whoever reads none of these cannot be misled by them.
UNREAD = {"allocate": {"history.json", "timing.json", "versions.json"}}
UNREAD["report"] = {"encoder.json", "model.safetensors", "timing.json", "versions.json"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damage")
    data = write_shop(folder / "shop.parquet")
    for seed in (0, 1):
        run(tiny_study(data=data, seed=seed), folder / f"run-{seed}", Silent())
    return folder


def allocate(shop: Path, path: Path) -> tuple[int, str]:
    output = path.parent / "allocation.parquet"
    output.unlink(missing_ok=True)
    done = invoke("allocate", path, shop / "shop.parquet", "-o", output, "--budget-share", 0.4)
    assert output.exists() == (done.code == 0)
    return done.code, done.text


def report(shop: Path, path: Path) -> tuple[int, str]:
    done = invoke("report", path)
    return done.code, done.text


READERS: dict[str, Callable[[Path, Path], tuple[int, str]]] = {
    "allocate": allocate,
    "report": report,
}


def flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


@pytest.mark.parametrize("how_many", [1, pytest.param(60, marks=pytest.mark.faults)])
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", SEALED)
def test_one_flipped_bit_is_refused_with_a_line(
    name: str, reader: str, how_many: int, shop: Path, tmp_path: Path
) -> None:
    if name in UNREAD[reader]:
        how_many = 1
    shutil.copytree(shop / "run-0", tmp_path / "run")
    draw = random.Random(name)
    for _ in range(how_many):
        shutil.copy(shop / "run-0" / name, tmp_path / "run" / name)
        flip(tmp_path / "run" / name, draw)
        code, text = READERS[reader](shop, tmp_path / "run")
        if name in UNREAD[reader]:
            assert code == 0, text
        else:
            assert code == 2
            assert text.startswith("error: ")
            assert name in text


@pytest.mark.parametrize("name", ["encoder.json", "model.safetensors", "config.yaml"])
def test_a_file_of_another_run_is_refused(name: str, shop: Path, tmp_path: Path) -> None:
    shutil.copytree(shop / "run-0", tmp_path / "run")
    content = (shop / "run-1" / name).read_bytes()
    if name == "encoder.json":  # that of the other run is the same
        content = content.replace(b"age", b"income")
    (tmp_path / "run" / name).write_bytes(content)
    code, text = allocate(shop, tmp_path / "run")
    assert (code, "its checksum differs" in text) == (2, True)


def swap_columns(encoder: dict[str, Any]) -> None:
    encoder["columns"].reverse()


def drop_column(encoder: dict[str, Any]) -> None:
    encoder["columns"].pop()


def same_names(encoder: dict[str, Any]) -> None:
    encoder["treatment_names"] = ["mail", "mail"]


def no_names(encoder: dict[str, Any]) -> None:
    del encoder["treatment_names"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swap_columns, ""),  # fits as well; only the checksum can tell
        (drop_column, "it has 1 and 2. It was taken from another run"),
        (same_names, "treatment names must all differ, got ['mail', 'mail']"),
        (no_names, "names no treatments"),
    ],
)
def test_an_encoder_that_was_changed(
    change: Callable[[dict[str, Any]], None], message: str, shop: Path, tmp_path: Path
) -> None:
    shutil.copytree(shop / "run-0", tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    encoder = folder.read_json("encoder.json")
    change(encoder)
    folder.write_json("encoder.json", encoder)
    code, text = allocate(shop, folder.path)
    assert (code, "its checksum differs" in text) == (2, True)
    folder.seal("encoder.json")  # as if the run had written it so
    code, text = allocate(shop, folder.path)
    assert (code == 2) == bool(message)
    assert message in text


def test_a_manifest_that_is_gone_is_no_way_around_it(shop: Path, tmp_path: Path) -> None:
    shutil.copytree(shop / "run-0", tmp_path / "run")
    (tmp_path / "run" / "manifest.json").unlink()
    for reader in READERS.values():
        code, text = reader(shop, tmp_path / "run")
        assert (code, "manifest.json is missing, so the other files" in text) == (2, True)


def make_old(folder: Path) -> None:
    """Make a folder what versions without a manifest left."""
    (folder / "manifest.json").unlink()
    versions = json.loads((folder / "versions.json").read_text())
    del versions["run_folder"]
    (folder / "versions.json").write_text(json.dumps(versions))


def test_an_unfinished_folder_of_an_earlier_version_is_finished(shop: Path, tmp_path: Path) -> None:
    data = write_shop(tmp_path / "shop.parquet")
    with pytest.raises(KilledError):
        run(tiny_study(data=data), tmp_path / "run", Noting(1, act=die))
    make_old(tmp_path / "run")
    done = invoke("run", "-o", tmp_path / "run", "--resume")
    assert done.code == 0, done.text
    assert all(reader(shop, tmp_path / "run")[0] == 0 for reader in READERS.values())
    ours, whole = (folder / "metrics.json" for folder in (tmp_path / "run", shop / "run-0"))
    assert ours.read_bytes() == whole.read_bytes()


def test_a_folder_of_an_earlier_version_is_read(shop: Path, tmp_path: Path) -> None:
    shutil.copytree(shop / "run-0", tmp_path / "run")
    make_old(tmp_path / "run")
    assert all(reader(shop, tmp_path / "run")[0] == 0 for reader in READERS.values())
    metrics = tmp_path / "run" / "metrics.json"
    metrics.write_text("[1]")
    code, text = report(shop, tmp_path / "run")
    assert (code, "metrics.json must hold a JSON object, got list" in text) == (2, True)
    metrics.write_text('{"name": 3}')
    code, text = report(shop, tmp_path / "run")
    assert (code, "metrics.json does not hold the metrics of a run" in text) == (2, True)


def die() -> None:
    raise KilledError


@pytest.mark.parametrize("how_many", [2, pytest.param(60, marks=pytest.mark.faults)])
def test_a_flipped_bit_in_a_checkpoint_is_refused(how_many: int, tmp_path: Path) -> None:
    study = tiny_study(data=write_shop(tmp_path / "shop.parquet"))
    with pytest.raises(KilledError):
        run(study, tmp_path / "run", Noting(1, act=die))
    kept = tmp_path / "run" / "checkpoints" / "target.safetensors"
    content, draw = kept.read_bytes(), random.Random("checkpoint")
    for _ in range(how_many):
        kept.write_bytes(content)
        flip(kept, draw)
        done = invoke("run", "-o", tmp_path / "run", "--resume")
        assert done.code == 2, done.text
        assert "target.safetensors" in done.text
