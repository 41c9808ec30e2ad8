"""``dfl doctor``."""

import os
import platform
import re
import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import torch

import dfl
from dfl.cli.console import say, show
from dfl.cli.document import publish
from dfl.data import (
    DATASETS,
    AbstractDataSource,
    AbstractPackaged,
    AbstractPublished,
    AbstractSimulator,
)
from dfl.data.sources.reading import find_file
from dfl.errors import DataNotFoundError, DflError
from dfl.report import Table

__all__ = ["doctor_command"]

_DISTRIBUTION = "dfl-toolkit"
_FOR_DEVELOPERS = ("browser", "dev", "docs", "peers", "test")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([\w-]+)['\"]")


def doctor_command() -> None:
    """Print what this installation has and what it lacks; nothing is changed."""
    found: dict[str, Any] = {
        "versions": _versions(),
        "extras": _extras(),
        "machine": _machine(),
        "data": _data(),
    }
    for title, (left, right) in {
        "versions": ("package", "version"),
        "extras": ("extra", "packages"),
        "machine": ("", ""),
        "data": ("data set", "where"),
    }.items():
        show(Table(title, (left, right), [*found[title].items()], words=2))
    say(_advice(found))
    publish(found)


def _versions() -> dict[str, str]:
    """Return the versions of dfl, Python and every package that dfl requires."""
    needed = [re.split(r"[^\w.-]", line)[0] for line in _requirements() if not _EXTRA.search(line)]
    return {
        "dfl": dfl.__version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in sorted(needed, key=str.lower)},
    }


def _extras() -> dict[str, str]:
    """Return each extra with the versions of its packages."""
    extras: dict[str, dict[str, str]] = {}
    for line in _requirements():
        name, extra = re.split(r"[^\w.-]", line)[0], _EXTRA.search(line)
        if extra and extra[1] not in _FOR_DEVELOPERS and name != _DISTRIBUTION:
            extras.setdefault(extra[1], {})[name] = _version(name)
    return {
        extra: ", ".join(f"{name} {found}" for name, found in packages.items())
        for extra, packages in sorted(extras.items())
    }


def _machine() -> dict[str, str]:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processors": f"{usable}",
        "threads of torch": f"{torch.get_num_threads()}",
        "OMP_NUM_THREADS": _variable("OMP_NUM_THREADS"),
        "accelerators": ", ".join(gpus) or "none; nothing needs one",
        "free disk here": f"{free:.1f} GB",
        "DFL_DATA": _variable("DFL_DATA"),
    }


def _data() -> dict[str, str]:
    """Return where each data set stands; files are looked for and not read."""
    sources = {name: DATASETS.load(name) for name in DATASETS}
    places = {name: _place(source) for name, source in sources.items()}
    return {name: place for name, place in places.items() if place}


def _place(source: type[AbstractDataSource]) -> str:
    """Say where one stands; nothing of what needs options to be made."""
    try:
        if issubclass(source, AbstractPackaged):
            source().installed()
            return "in a package"
        if issubclass(source, AbstractPublished):
            return _found(source.card.files)
    except DflError as error:
        return f"not found: {error}"
    return "built in" if issubclass(source, AbstractSimulator) else ""


def _found(files: Sequence[str]) -> str:
    try:
        return str(find_file(None, files))
    except DataNotFoundError:
        return f"not found; looked for {' or '.join(files)}"


def _advice(found: dict[str, Any]) -> str:
    """Say what is missing and how to get it."""
    said = []
    missing = [name for name, packages in found["extras"].items() if "not installed" in packages]
    if missing:
        said.append(f"For more parts: pip install '{_DISTRIBUTION}[{','.join(missing)}]'.")
    if found["machine"]["DFL_DATA"] == "not set":
        said.append("Public data files are found in the folder that DFL_DATA names.")
    broken = [name for name, one in found["versions"].items() if one == "not installed"]
    if broken:
        said.append(f"Required and not installed: {', '.join(broken)}.")
    return " ".join(said) or "Nothing is missing."


def _requirements() -> list[str]:
    try:
        return requires(_DISTRIBUTION) or []
    except PackageNotFoundError:  # run from a checkout that is not installed
        return []


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _variable(name: str) -> str:
    return os.environ.get(name) or "not set"
