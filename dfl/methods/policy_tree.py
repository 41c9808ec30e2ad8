"""`PolicyTree`: a shallow tree on features, grown to spend a budget best."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from dfl.checks import check_count, check_number, check_part
from dfl.errors import InvalidValueError
from dfl.methods.base import AbstractMethod
from dfl.methods.tsm_sl import TsmSl
from dfl.models import AbstractModel
from dfl.segments.making import Tabulation
from dfl.segments.model import SegmentModel
from dfl.segments.scores import Scores
from dfl.segments.tree_growth import MOST_DEPTH, TreeScores, grow
from dfl.training.monitor import Monitor
from dfl.training.settings import Part, TrainingSet, hold_out

__all__ = ["PolicyTree"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class PolicyTree(AbstractMethod):
    """The readable alternative to `Hrc`: segments are the leaves of a tree of depth 3 at most.

    The base method learns on one part of the randomised rows; the tree is grown on doubly robust
    scores of the second, see `dfl.segments.tree.grow`; the third gives the leaves' tables. The
    tree is the best one for one budget.

    Args:
        base: its predictions make the scores steadier.
        depth: of the tree, in 1 .. 3.
        thresholds: candidate thresholds per feature, >= 1.
        least: people in every leaf of the growing sample, >= 1; a tenth of the sample at most.
        held_out: share of the randomised rows for the tree and the tables, half each, in (0, 1).
        share: of the way from the cheapest treatment for everyone (0) to the dearest (1), the
            budget that the tree is grown for, in [0, 1]; its leaves serve every budget.
        tabulation: how tables are estimated.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Athey and Wager (2021), arXiv:1702.02896; the budget by a price of money is ours.
    """

    base: AbstractMethod = field(default_factory=TsmSl)
    depth: int = 3
    thresholds: int = 16
    least: int = 100
    held_out: float = 0.6
    share: float = 0.3
    tabulation: Tabulation = field(default_factory=Tabulation)

    def __post_init__(self) -> None:
        """Check the options."""
        check_part("base", self.base, AbstractMethod, "TsmSl() or METHODS.make(name)")
        check_count("depth", self.depth, at_least=1)
        if self.depth > MOST_DEPTH:
            raise InvalidValueError(f"depth must be in [1, {MOST_DEPTH}], got {self.depth}.")
        check_count("thresholds", self.thresholds, at_least=1)
        check_count("least", self.least, at_least=1)
        check_number("held_out", self.held_out, above=0, below=1)
        check_number("share", self.share, at_least=0, at_most=1)

    @property
    def uses(self) -> tuple[Part, ...]:
        """Those of the base method, and randomised rows for tree and tables."""
        return ("rct", "obs") if "obs" in self.base.uses else ("rct",)

    def fit_many(
        self, sets: Sequence[TrainingSet], *, monitor: Monitor | None = None
    ) -> list[AbstractModel]:
        """Fit one model per training set; the base models of all sets at once.

        Args:
            sets: as in `AbstractMethod.fit_many`.
            monitor: as there.

        Raises:
            DataError: as there, or if a treatment has randomised rows of one person only.
            ShapeError: as there.
            InvalidValueError: as there.
            NotConvergedError: as there.
        """
        halves = [hold_out(one, self.held_out) for one in self.all_needed(sets)]
        models = self.base.fit_many([own for own, _ in halves], monitor=monitor)
        return [self._grown(model, other) for model, (_, other) in zip(models, halves, strict=True)]

    def _grown(self, model: AbstractModel, other: TrainingSet) -> SegmentModel:
        assert other.rct is not None  # `uses` names them
        rows = other.rct
        counts = rows.arm_counts
        if int(counts.min()) < 2:  # nothing to split: everyone is one segment
            growing = tabled = rows
        else:
            parts = hold_out(other, 0.5)
            assert parts[0].rct is not None
            assert parts[1].rct is not None
            growing, tabled = parts[0].rct, parts[1].rct
        scores = Scores.of(growing, model.predict(growing.features))
        arms = scores.arm_costs
        low, high = float(arms.min()), float(arms.max())
        tree = grow(
            TreeScores(growing.features, scores.revenue, scores.cost),
            low + self.share * (high - low),
            depth=self.depth,
            thresholds=self.thresholds,
            least=min(self.least, max(len(growing) // 10, 1)),
        )
        table = self.tabulation.table(
            tabled, tree.assign(tabled.features), tree.segments, model.predict(tabled.features)
        )
        logs = [{"segments": float(tree.segments)}]
        return SegmentModel(tree, table, {**model.history, "segments": logs})
