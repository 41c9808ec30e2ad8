"""`SimulatedExperiment`: one simulated experiment, cut up as published ones are."""

from dataclasses import dataclass, field
from typing import final

from dfl.checks import check_count
from dfl.data.hybrid import HybridData, HybridRecipe, to_hybrid
from dfl.data.simulators.criteo_like import CriteoLikeSimulator
from dfl.data.simulators.simulator import AbstractSimulator
from dfl.data.sources.source import AbstractDataSource
from dfl.seeds import stream

__all__ = ["SimulatedExperiment"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class SimulatedExperiment(AbstractDataSource):
    """Randomised rows of a simulator, from which a recipe makes the four parts.

    Where a simulator's own ``hybrid`` draws every part for itself, here the observational
    rows are those of the experiment whose treatment an old policy, trained on some of it,
    proposes: as with a published file (`to_hybrid`), but with the truth.

    Args:
        simulator: draws the rows; its ``sizes`` and its old policy play no part.
        rows: of the whole experiment, >= 1.
        recipe: how it is cut up.
    """

    simulator: AbstractSimulator = field(default_factory=CriteoLikeSimulator)
    rows: int = 1_000_000
    recipe: HybridRecipe = field(default_factory=HybridRecipe)

    def __post_init__(self) -> None:
        """Check the range."""
        check_count("rows", self.rows, at_least=1)

    def hybrid(self, seed: int) -> HybridData:
        """Draw the experiment and cut it up; both depend on the seed."""
        drawn = self.simulator.draw(self.rows, generator=stream(seed, "experiment"))
        return to_hybrid(drawn, seed=seed, recipe=self.recipe, encoder=self.simulator.encoder)
