"""A finished run, made by the command line once for all tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dfl.config import to_yaml
from tests.cli.outcome import Dfl, invoke
from tests.pipeline.tiny import tiny_config, write_shop


@pytest.fixture(scope="session")
def dfl() -> Dfl:
    """Runs a command."""
    return invoke


@pytest.fixture(scope="session")
def write() -> Callable[[Path, object], Path]:
    """Writes a tiny configuration."""

    def write_config(path: Path, method: object) -> Path:
        path.write_text(to_yaml(tiny_config(method)))
        return path

    return write_config


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory, dfl: Dfl) -> Path:
    """The folder of a finished run on a table whose treatments cost 1 and 2."""
    path = tmp_path_factory.mktemp("shop")
    data = write_shop(path / "shop.parquet")
    (path / "shop.yaml").write_text(to_yaml(tiny_config("tsm-sl", data=data)))
    done = dfl("run", path / "shop.yaml", "-o", path / "run")
    assert done.code == 0, done.text
    return path
