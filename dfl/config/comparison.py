"""`Comparison`: several studies on the same rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from dfl.checks import check_count
from dfl.config.assembly import check_names
from dfl.config.study import Study, read_study
from dfl.errors import ConfigError
from dfl.registry import unknown_name

__all__ = ["Comparison", "read_comparison"]

_TAKEN = {"checkpoints", "comparison.json", "config.yaml", "manifest.json", "plots"}
_TAKEN |= {"report.html", "versions.json"}
_SECTIONS = ("runs", "seeds", "baseline")
_SHARED = ("data", "budgets", "evaluation", "seed")


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """Methods that are trained and tested on the same rows.

    Args:
        studies: the methods, of different names, alike in data, budgets, evaluation and
            seed.
        seeds: repetitions; repetition ``s`` draws or splits the data, and trains, by the
            seed of the studies plus ``s``. >= 1.
        baseline: name of the study that the others are compared with.

    Raises:
        ConfigError: if there are no two studies, names repeat, rows would differ, or the
            baseline is none of them.
    """

    studies: tuple[Study, ...]
    seeds: int
    baseline: str

    def __post_init__(self) -> None:
        """Check that the studies can be compared."""
        names = [study.name for study in self.studies]
        if len(names) < 2:
            raise ConfigError(f"a comparison needs at least two methods, got {names or 'none'}.")
        if len({name.casefold() for name in names}) < len(names):  # each names a folder
            raise ConfigError(f"each method may come once, got {names}; give files other names.")
        if taken := [name for name in names if name.casefold() in _TAKEN]:
            raise ConfigError(
                f"a method in a comparison cannot be called {taken[0]!r}: a file of the comparison "
                "has that name; set another by name."
            )
        check_count("seeds", self.seeds, at_least=1, error=ConfigError)
        if self.baseline not in names:
            raise ConfigError(f"baseline: {unknown_name('methods compared', self.baseline, names)}")
        first = self.studies[0].config
        for study in self.studies[1:]:
            for section in _SHARED:
                if study.config[section] != first[section]:
                    raise ConfigError(
                        f"methods are compared on the same rows and budgets, but {study.name} has "
                        f"{section} {study.config[section]} and {names[0]} has {first[section]}."
                    )

    @property
    def config(self) -> dict[str, Any]:
        """All of it as plain data; `read_comparison` gives it back."""
        return {
            "baseline": self.baseline,
            "seeds": self.seeds,
            "runs": [study.config for study in self.studies],
        }


def read_comparison(config: Mapping[str, Any]) -> Comparison:
    """Build what a comparison's configuration describes.

    Args:
        config: ``baseline``, ``seeds`` and ``runs``, plain data.

    Raises:
        ConfigError: as `Comparison` and `read_study`.
        MissingExtraError: if a part needs a package that is not installed.
    """
    check_names("sections of a comparison", config, _SECTIONS, "")
    runs, seeds, baseline = (config.get(key) for key in _SECTIONS)
    if not isinstance(runs, list) or not all(isinstance(run, Mapping) for run in runs):
        raise ConfigError(f"runs must be a list of configurations, got {runs!r}.")
    if type(seeds) is not int or not isinstance(baseline, str):
        raise ConfigError(
            f"a comparison needs seeds, a whole number, and baseline, a name; got {seeds!r} and "
            f"{baseline!r}."
        )
    studies = tuple(read_study(run) for run in runs)
    return Comparison(studies=studies, seeds=seeds, baseline=baseline)
