"""What the options of the command line change in a configuration."""

from dataclasses import dataclass
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
        solver: name of the solver that allocates.
        loss: name of the decision loss.
        layer: name of the layer of that loss.
        hypergrad: name of the hypergradient.
        per_head: budgets in currency per head.
        share: budgets between the cheapest and the dearest treatment.
        seed: starting point of all randomness.
        device: where training runs.
        members: networks per ensemble.
        epochs: passes over the training rows.
        settings: ``section.option=value``, applied last.
    """

    data: str | None = None
    solver: str | None = None
    loss: str | None = None
    layer: str | None = None
    hypergrad: str | None = None
    per_head: tuple[float, ...] = ()
    share: tuple[float, ...] = ()
    seed: int | None = None
    device: str | None = None
    members: int | None = None
    epochs: int | None = None
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
        for section in ("solver", "loss", "layer", "hypergrad"):  # a loss brings its own layer
            if (name := getattr(self, section)) is not None:
                config = choose_part(config, section, name)
        if self.per_head and self.share:
            raise ConfigError("give budgets by --budget-per-head or by --budget-share, not both.")
        budgets = [{"per_head": one} for one in self.per_head]
        budgets += [{"share": one} for one in self.share]
        if budgets:
            config["budgets"] = budgets
        config |= self._given("seed", "device")
        if training := self._given("members", "epochs"):
            config["training"] = spec_of(config.get("training"), "training") | training
        return change(config, self.settings)

    def _given(self, *names: str) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}


def free_folder(name: str) -> Path:
    """Return ``runs/NAME``, or ``runs/NAME-2`` and so on where that exists."""
    path, number = Path("runs") / name, 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{name}-{number}"
    return path
