"""`Hrc`: segments of hidden representations, and one table of revenue and cost for them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from dfl.budget import Budget
from dfl.checks import check_choice, check_count, check_number, check_part, check_several
from dfl.errors import InvalidValueError
from dfl.methods.base import AbstractMethod, AbstractNetworkMethod
from dfl.methods.grounded import Grounded
from dfl.methods.tsm_sl import TsmSl
from dfl.models import AbstractModel
from dfl.segments.making import Tabulation, chosen_segments
from dfl.segments.model import SegmentModel
from dfl.segments.representation import KINDS, Kind, hidden_parameters
from dfl.training.decision_level import BUDGETS
from dfl.training.monitor import Monitor
from dfl.training.settings import Part, TrainingSet, hold_out

__all__ = ["Hrc"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Hrc(AbstractMethod):
    """Hidden representation clustering: a few kinds of people, and what works on each.

    The base method learns on one part of the randomised rows (and on the logs, where it uses
    them); the hidden representation of those people is clustered by K-means; the other part gives
    each segment's revenue and cost under every treatment, and chooses how many segments there
    are, by cross-validated policy value. Everyone is predicted what their segment's table says.

    Args:
        base: what represents people; a method that trains networks, or `Grounded` around one,
            whose corrected predictions then serve the doubly robust tables. Any method where
            something else than ``"hidden"`` is clustered.
        representation: what is clustered; ``"predictions"``, ``"features"`` and ``"random"`` (no
            meaning at all) are there to compare with.
        layers: first layers of each network that give the hidden representation, >= 1.
        counts: candidates for the number of clusters, each >= 1.
        cell: rows that each segment and treatment must have; smaller segments are merged.
        held_out: share of the randomised rows for tables and the number of clusters, in (0, 1).
        folds: in which the candidates are compared, >= 2.
        budgets: at which they are compared.
        tabulation: how tables are estimated.

    Raises:
        InvalidValueError: if an option is out of range, there is no candidate or no budget, or
            the base method trains no networks whose hidden layers could be clustered.

    Source:
        A reconstruction around the abstract of arXiv:2506.00959, which names a multi-task
        network, the output of its first two layers, a partitioning, K groups. Ours: K-means, how
        K is chosen, disjoint rows, tables and shrinkage. Its representation has tasks for several
        responses, ours revenue and cost.
    """

    base: AbstractMethod = field(default_factory=TsmSl)
    representation: Kind = "hidden"
    layers: int = 2
    counts: tuple[int, ...] = (2, 5, 10, 20, 50)
    cell: int = 50
    held_out: float = 0.5
    folds: int = 5
    budgets: tuple[Budget, ...] = BUDGETS
    tabulation: Tabulation = field(default_factory=Tabulation)

    def __post_init__(self) -> None:
        """Check the options."""
        check_part("base", self.base, AbstractMethod, "TsmSl() or METHODS.make(name)")
        check_choice("representation", self.representation, KINDS)
        check_count("layers", self.layers, at_least=1)
        check_several("counts", self.counts)
        check_count("number of counts", len(self.counts), at_least=1)
        for count in self.counts:
            check_count("counts", count, at_least=1)
        check_count("cell", self.cell, at_least=0)
        check_number("held_out", self.held_out, above=0, below=1)
        check_count("folds", self.folds, at_least=2)
        check_several("budgets", self.budgets, Budget)
        check_count("number of budgets", len(self.budgets), at_least=1)
        if self.representation == "hidden":
            self._networks()  # refuses others

    @property
    def uses(self) -> tuple[Part, ...]:
        """Those of the base method, and randomised rows for the tables."""
        return ("rct", "obs") if "obs" in self.base.uses else ("rct",)

    def check(self, one: TrainingSet) -> None:
        """Refuse what the base method refuses, too; see the interface.

        Raises:
            DataError: as `fit_many`.
            InvalidValueError: as `fit_many`.
        """
        self._check_layers(self.needed(one))
        self.base.check(one)

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
            InvalidValueError: as there, or if hidden layers are wanted and there are none.
            NotConvergedError: as there.
        """
        kept = self.all_needed(sets)
        self._check_layers(kept[0])  # the sets are alike
        halves = [hold_out(one, self.held_out) for one in kept]
        models = self.base.fit_many([own for own, _ in halves], monitor=monitor)
        return [
            self._segmented(model, own, other)
            for model, (own, other) in zip(models, halves, strict=True)
        ]

    def _networks(self) -> AbstractNetworkMethod:
        """Return the method whose networks give the hidden representation."""
        base = self.base.base if isinstance(self.base, Grounded) else self.base
        if not isinstance(base, AbstractNetworkMethod):
            raise InvalidValueError(
                "representation 'hidden' needs a base method that trains outcome networks, got "
                f"{type(base).__name__}; take representation 'predictions' or 'features'."
            )
        return base

    def _check_layers(self, one: TrainingSet) -> None:
        """Refuse networks without hidden layers where those are to be clustered."""
        if self.representation == "hidden":
            rows = one.parts[0]
            sizes = (rows.features.shape[1], rows.treatments)
            hidden_parameters(self._networks().network, *sizes, self.layers)

    def _segmented(
        self, model: AbstractModel, own: TrainingSet, other: TrainingSet
    ) -> SegmentModel:
        assert own.rct is not None  # `uses` names them
        assert other.rct is not None
        segmenter, table, logs = chosen_segments(
            model,
            own.rct,
            other.rct,
            kind=self.representation,
            layers=self.layers,
            counts=self.counts,
            cell=self.cell,
            folds=self.folds,
            budgets=self.budgets,
            tabulation=self.tabulation,
            seed=own.seed,
        )
        return SegmentModel(segmenter, table, {**model.history, "segments": logs})
