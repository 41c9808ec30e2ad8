"""`RunFolder`: everything a run leaves behind, in one folder."""

import hashlib
import json
import platform
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, final

import dfl
from dfl.config.yaml_text import read_yaml, to_yaml
from dfl.errors import DataError, DflError, RunFolderError
from dfl.io import UNFINISHED, make_folder, write_bytes, write_json
from dfl.pipeline.lock import LOCK
from dfl.report.report import Report

__all__ = ["RunFolder", "versions"]

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


_FORMAT = 2  # folders without this number have no manifest
_BEFORE_CONFIG = {LOCK, "manifest.json", "versions.json"}  # all that a killed start leaves


@final
@dataclass(frozen=True)
class RunFolder:
    """A folder of one run or one comparison.

    ``config.yaml`` marks a run folder, ``report.html`` a finished one. ``manifest.json``
    holds a checksum of every file that numbers depend on: a *sealed* file. What is written
    and not yet sealed when a run stops is written again, and a sealed file that has changed
    is refused wherever it is read. Folders of earlier versions, without a manifest, are read
    as they are. Whoever writes holds the folder by `locked`.

    Args:
        path: of the folder.
    """

    path: Path

    @staticmethod
    def check_free(path: Path | str) -> None:
        """Refuse a folder in which something stands already.

        Raises:
            RunFolderError: if it exists and holds more than a start that was stopped at once.
        """
        path = Path(path)
        if not path.exists():
            return
        if not path.is_dir():
            raise RunFolderError(f"{path} is a file; choose another folder.")
        if (path / "config.yaml").exists():
            raise RunFolderError(
                f"{path} already holds a run; go on with it by --resume, or choose another folder."
            )
        if not _only_begun(path):
            raise RunFolderError(f"{path} is not empty and holds no run; choose another folder.")

    @staticmethod
    def create(path: Path | str, config: Mapping[str, object]) -> "RunFolder":
        """Make the folder and write its configuration and versions.

        Args:
            path: of the new folder.
            config: resolved configuration, plain data.

        Raises:
            RunFolderError: if the folder exists and is not empty.
            WriteError: if it could not be written.
        """
        path = Path(path)
        RunFolder.check_free(path)
        make_folder(path)
        folder = RunFolder(path)
        made_by = {"run_folder": _FORMAT, **versions()}
        files = {
            "versions.json": json.dumps(made_by, indent=2).encode(),
            "config.yaml": to_yaml(config).encode(),
        }
        folder._write_manifest({name: _checksum(content) for name, content in files.items()})
        for name, content in files.items():
            folder.write_bytes(name, content)
        return folder

    @staticmethod
    def open(path: Path | str, *, of: str | None = None) -> "RunFolder":
        """Return the run folder at ``path``.

        Args:
            path: of the folder.
            of: command that must have made it, ``"run"`` or ``"compare"``; None: either.

        Raises:
            RunFolderError: if there is none, another command or a later version of dfl made it, or
                it is a part of a comparison over several seeds, which keeps no model.
            DataError: if its configuration is not the one that was written.
        """
        path = Path(path)
        if (path / "config.yaml").is_file():
            folder = RunFolder(path)
            if of not in (None, folder.kind):
                raise RunFolderError(
                    f"{path} was made by 'dfl {folder.kind}', not by 'dfl {of}'; use that command."
                )
            folder._check_format()
            folder._check_whole()
            return folder
        if path.is_dir() and any(path.iterdir()) and _only_begun(path):
            raise RunFolderError(
                f"{path} was stopped before anything was done; run it again without --resume."
            )
        raise RunFolderError(f"{path} is not a run folder: it holds no config.yaml.")

    @property
    def kind(self) -> str:
        """The command that made the folder: ``"run"`` or ``"compare"``."""
        return "compare" if "runs" in self.config else "run"

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return (self.path / "report.html").exists()

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration.

        Raises:
            ConfigError: if the file is not readable YAML.
            DataError: if it is not the one that was written.
        """
        return read_yaml(self.checked("config.yaml"))

    @property
    def config_text(self) -> str:
        """The resolved configuration as it stands in the folder."""
        return self.checked("config.yaml").read_text(encoding="utf-8")

    @property
    def made_by(self) -> str:
        """The version of dfl that made the folder."""
        return str(self.read_json("versions.json").get("dfl", "unknown"))

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints, made when asked for; gone once the model is kept."""
        path = self.path / "checkpoints"
        make_folder(path)
        return path

    def drop_checkpoints(self) -> None:
        """Remove the checkpoints of a run that needs them no more."""
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)

    def seal(self, *names: str) -> None:
        """Write the checksums of finished files into the manifest.

        Raises:
            WriteError: if it could not be written.
            DataError: if it is damaged.
        """
        sealed = self._sealed()
        if sealed is not None:  # a folder of an earlier version stays one
            new = {name: _checksum((self.path / name).read_bytes()) for name in names}
            self._write_manifest(sealed | new)

    def has(self, name: str) -> bool:
        """Say whether a file is there and was finished.

        Raises:
            DataError: if the manifest is damaged.
        """
        sealed = self._sealed()
        return (self.path / name).exists() if sealed is None else name in sealed

    def checked(self, name: str) -> Path:
        """Return the path of a finished file, after its checksum was found right.

        Raises:
            RunFolderError: if the file is not there, because the run did not finish.
            DataError: if it is not the file that was written.
        """
        path, sealed = self.path / name, self._sealed()
        if not path.exists() or (sealed is not None and name not in sealed):
            kind = "compare" if name == "comparison.json" else "run"
            raise RunFolderError(
                f"{path} is missing: the run did not finish; go on with it by "
                f"'dfl {kind} -o {self.path} --resume'."
            )
        if sealed is not None and _checksum(path.read_bytes()) != sealed[name]:
            raise DataError(
                f"{path} is not the file that the run wrote: its checksum differs, so it was "
                "damaged, changed or taken from another run. Put the original back, or run again "
                "in another folder."
            )
        return path

    def read_json(self, name: str) -> dict[str, Any]:
        """Read one of the folder's files.

        Raises:
            RunFolderError: as `checked`.
            DataError: as `checked`, or if it does not hold a JSON object.
        """
        return _read_object(self.checked(name))

    def write_json(self, name: str, content: Mapping[str, object]) -> None:
        """Write a JSON file, whole or not at all.

        Raises:
            WriteError: if it could not be written.
        """
        write_json(self.path / name, content)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all; its folder is made where it is missing.

        Raises:
            WriteError: if it could not be written.
        """
        path = self.path / name
        make_folder(path.parent)
        write_bytes(path, content)

    def write_report(self, report: Report) -> None:
        """Draw and write plots, then the page, which marks the folder as finished.

        Raises:
            WriteError: if a file could not be written.
        """
        for name, content in report.files().items():
            self.write_bytes(name, content)

    def _check_format(self) -> None:
        """Refuse what a later version of dfl wrote in its own way."""
        made_by: dict[str, Any] = {}
        with suppress(DataError):  # whoever needs that file finds it damaged
            made_by = _read_object(self.path / "versions.json")
        number = made_by.get("run_folder")
        if isinstance(number, int) and number > _FORMAT:
            raise RunFolderError(
                f"{self.path} was made by dfl {made_by.get('dfl', 'unknown')}, whose folders are "
                f"of format {number}, and dfl {dfl.__version__} reads up to {_FORMAT}; install "
                "that version."
            )

    def _check_whole(self) -> None:
        """Refuse one method of a comparison over several seeds: a run would overwrite it."""
        path, above = self.path.resolve(), {}
        if (path.parent / "config.yaml").is_file():
            with suppress(DflError):  # any file may have that name
                above = RunFolder(path.parent).config
        runs, seeds = above.get("runs"), above.get("seeds")
        if not isinstance(runs, list) or not isinstance(seeds, int) or seeds == 1:
            return
        if path.name in [run.get("name") for run in runs if isinstance(run, dict)]:
            raise RunFolderError(
                f"{self.path} is one method of a comparison over {seeds} seeds and holds no run; "
                f"its numbers are in the report of {path.parent}. Train it alone by 'dfl run' in "
                "another folder."
            )

    def _sealed(self) -> dict[str, str] | None:
        """Return file to checksum, or None for a folder of a version without a manifest."""
        path = self.path / "manifest.json"
        if not path.exists():
            versions = self.path / "versions.json"
            if versions.exists() and "run_folder" in _read_object(versions):
                raise DataError(
                    f"{path} is missing, so the other files cannot be checked; put it back, or run "
                    "again in another folder."
                )
            return None
        content = _read_object(path)
        files = content.get("files")
        if not isinstance(files, dict) or content.get("checksum") != _checksum(_canonical(files)):
            raise DataError(
                f"{path} is damaged, so the other files cannot be checked; put it back, or run "
                "again in another folder."
            )
        return files

    def _write_manifest(self, files: Mapping[str, str]) -> None:
        content = {"files": dict(files), "checksum": _checksum(_canonical(files))}
        self.write_json("manifest.json", content)


def _only_begun(path: Path) -> bool:
    """Say whether a folder holds nothing but what a start leaves that was stopped at once."""
    names = {file.name for file in path.iterdir() if not UNFINISHED.fullmatch(file.name)}
    return names <= _BEFORE_CONFIG


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _canonical(files: Mapping[str, str]) -> bytes:
    return json.dumps(files, sort_keys=True).encode()


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is unreadable ({error}).") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a JSON object, got {type(content).__name__}.")
    return content


def versions() -> dict[str, object]:
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
