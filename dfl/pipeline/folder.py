"""`RunFolder`: everything a run leaves behind, in one folder."""

import json
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, final

import dfl
from dfl.config.yaml_text import read_yaml, to_yaml
from dfl.errors import DataError, RunFolderError, WriteError
from dfl.io import write_bytes, write_json
from dfl.report.report import Report

__all__ = ["RunFolder"]

_LIBRARIES = (
    "matplotlib",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "safetensors",
    "scipy",
    "torch",
)


@final
@dataclass(frozen=True)
class RunFolder:
    """A folder of one run or one comparison.

    ``config.yaml`` is written first and ``report.html`` last, so the first marks a run
    folder and the last a finished one.

    Args:
        path: of the folder.
    """

    path: Path

    @staticmethod
    def check_free(path: Path) -> None:
        """Refuse a folder in which something stands already.

        Raises:
            RunFolderError: if it exists and is not an empty folder.
        """
        if not path.exists():
            return
        if not path.is_dir():
            raise RunFolderError(f"{path} is a file; choose another folder.")
        if (path / "config.yaml").exists():
            raise RunFolderError(
                f"{path} already holds a run; go on with it by --resume, or choose another folder."
            )
        if any(path.iterdir()):
            raise RunFolderError(f"{path} is not empty and holds no run; choose another folder.")

    @staticmethod
    def create(path: Path, config: Mapping[str, object]) -> "RunFolder":
        """Make the folder and write its configuration and versions.

        Args:
            path: of the new folder.
            config: resolved configuration, plain data.

        Raises:
            RunFolderError: if the folder exists and is not empty.
            WriteError: if it could not be written.
        """
        RunFolder.check_free(path)
        folder = RunFolder(path)
        folder._make(path)
        folder.write_json("versions.json", _versions())
        folder.write_text("config.yaml", to_yaml(config))
        return folder

    @staticmethod
    def open(path: Path) -> "RunFolder":
        """Return the run folder at ``path``.

        Raises:
            RunFolderError: if there is none.
        """
        if not (path / "config.yaml").is_file():
            raise RunFolderError(f"{path} is not a run folder: it holds no config.yaml.")
        return RunFolder(path)

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return (self.path / "report.html").exists()

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration.

        Raises:
            ConfigError: if the file is not readable YAML.
        """
        return read_yaml(self.path / "config.yaml")

    @property
    def config_text(self) -> str:
        """The resolved configuration as it stands in the folder."""
        return (self.path / "config.yaml").read_text(encoding="utf-8")

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints, made when asked for; gone once the run is finished."""
        path = self.path / "checkpoints"
        self._make(path)
        return path

    def drop_checkpoints(self) -> None:
        """Remove the checkpoints of a run that needs them no more."""
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)

    def read_json(self, name: str) -> dict[str, Any]:
        """Read one of the folder's files.

        Raises:
            RunFolderError: if the file is not there, because the run did not finish.
            DataError: if it is not readable JSON.
        """
        path = self.path / name
        if not path.exists():
            raise RunFolderError(
                f"{path} is missing: the run did not finish; go on with it by "
                f"'dfl run -o {self.path} --resume'."
            )
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is unreadable ({error}).") from error
        return content

    def write_json(self, name: str, content: Mapping[str, object]) -> None:
        """Write a JSON file, whole or not at all.

        Raises:
            WriteError: if it could not be written.
        """
        write_json(self.path / name, content)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file, whole or not at all.

        Raises:
            WriteError: if it could not be written.
        """
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all; its folder is made where it is missing.

        Raises:
            WriteError: if it could not be written.
        """
        path = self.path / name
        self._make(path.parent)
        write_bytes(path, content)

    def write_report(self, report: Report) -> None:
        """Write plots, then the page, which marks the folder as finished.

        Raises:
            WriteError: if a file could not be written.
        """
        for name, content in report.files.items():
            self.write_bytes(name, content)

    def _make(self, path: Path) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(f"could not make the folder {path}: {error.strerror}.") from error


def _versions() -> dict[str, object]:
    """Return what the numbers depend on beside configuration and data."""
    libraries = {}
    for name in _LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:  # a bundled interpreter may lack the metadata
            libraries[name] = "unknown"
    return {
        "dfl": dfl.__version__,
        "python": sys.version.split()[0],
        "machine": platform.machine(),
        "system": platform.system(),
        **libraries,
    }
