"""What the options of the command line change in a configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from dfl.config import change, choose_data, choose_part, load_config
from dfl.config.assembly import spec_of
from dfl.errors import ConfigError

__all__ = ["Changes", "free_folder"]


@final
@dataclass(frozen=True, kw_only=True)
class Changes:
    """Options of a command; None and empty leave the configuration as it is.

    Args:
        data: name of a data set or simulator, or path of a file.
        parts: section to the name of the part that shall stand there, the loss before the layer.
        per_head: budgets in currency per head.
        share: budgets between the cheapest and the dearest treatment.
        options: single values at the top.
        training: options of training.
        settings: ``section.option=value``, applied last.
    """

    data: str | None = None
    parts: Mapping[str, str | None] = field(default_factory=dict)
    per_head: tuple[float, ...] = ()
    share: tuple[float, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    training: Mapping[str, int | None] = field(default_factory=dict)
    settings: tuple[str, ...] = ()

    def load(self, source: str) -> dict[str, Any]:
        """Read a configuration and change it.

        Raises:
            DataNotFoundError: if a path names no file.
            ConfigError: if the source is unknown, or a setting is malformed.
        """
        config = load_config(source)
        if self.data is not None:
            config = choose_data(config, self.data)
        for section, name in self.parts.items():
            if name is not None:
                config = choose_part(config, section, name)
        if self.per_head and self.share:
            raise ConfigError("give budgets by --budget-per-head or by --budget-share, not both.")
        budgets = [{"per_head": one} for one in self.per_head]
        budgets += [{"share": one} for one in self.share]
        if budgets:
            config["budgets"] = budgets
        config |= {key: value for key, value in self.options.items() if value is not None}
        training = {key: value for key, value in self.training.items() if value is not None}
        if training:
            config["training"] = spec_of(config.get("training"), "training") | training
        return change(config, self.settings)

    @property
    def given(self) -> bool:
        """Whether any option was given."""
        return self != Changes(
            parts=dict.fromkeys(self.parts),
            options=dict.fromkeys(self.options),
            training=dict.fromkeys(self.training),
        )


def free_folder(name: str) -> Path:
    """Return ``runs/NAME``, or ``runs/NAME-2`` and so on where that exists."""
    path, number = Path("runs") / name, 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{name}-{number}"
    return path
