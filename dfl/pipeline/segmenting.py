"""What a run's segments are: profiles, plan, a classifier that serves them, a tree in words."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dfl.config import read_study
from dfl.data import HybridData, UpliftData
from dfl.data.split import split
from dfl.errors import ConfigError, DflError
from dfl.models import AbstractModel
from dfl.pipeline.folder import RunFolder
from dfl.pipeline.run import read_again, report_of
from dfl.pipeline.served import SEGMENTS, load_model
from dfl.pipeline.today import mean_error
from dfl.pipeline.yardstick import treatment_names
from dfl.report.segments import segment_files
from dfl.segments import HiddenSegments, Scores, SegmentModel, SegmentTable, Tree, TreeScores, grow
from dfl.segments.agreement import Agreement
from dfl.segments.distil import distilled
from dfl.segments.plan import Planning, SegmentPlan
from dfl.segments.profile import profiles, tree_in_words
from dfl.segments.serving import ServedSegments
from dfl.solvers import Stochastic
from dfl.solvers.scenarios import FORMULATIONS
from dfl.stats import interval_factor
from dfl.training.decision_level import budget_per_head

__all__ = ["SERVED", "describe_segments"]

SERVED = "segments.safetensors"

_LEVEL = 0.95
_DISTILLED_FROM = 50_000  # people at most
_GROWN_FROM = 10_000  # people at most


def describe_segments(
    folder: RunFolder, *, levels: int = 10, student: str = "network", nested: bool = False
) -> dict[str, Any]:
    """Write a finished run's segments beside its other files.

    ``segments.json``: profiles, tables, the treatments at each budget, what they earn on the test
    rows, the classifier's agreement, the tree. ``segments.safetensors``: what serves.
    ``segments.html`` and plots. The run's page is drawn anew and says who the segments are.

    Args:
        folder: of a run of ``hrc`` or ``policy-tree``.
        levels: budgets of the plan, >= 2.
        student: kind of classifier; a tree serves itself.
        nested: whether no segment gets a cheaper treatment at a larger budget.

    Returns:
        The content of ``segments.json``.

    Raises:
        ConfigError: if the run's model has no segments.
        RunFolderError: if the run did not finish.
        DflError: whatever data, solver or files raise.
    """
    study = read_again(read_study, folder)
    model = load_model(folder)
    if not isinstance(model, SegmentModel):
        raise ConfigError(
            f"dfl segment needs a run of hrc or policy-tree, {folder.path} holds one of "
            f"{study.name}; run 'dfl segment hrc' or name another folder."
        )
    data = study.data.hybrid(study.seed)
    solver = study.solver
    if not isinstance(solver, Stochastic):
        solver = Stochastic(relative_gap=1e-4, time_limit=10.0)
    planning = Planning(solver=solver, nested=nested)
    budgets = planning.grid(model.table, levels, seed=study.seed)
    plan = planning.plan(model.table, budgets, seed=study.seed)
    label = model.segmenter.assign(data.test.features)
    scores = Scores.of(data.test, _guide(model).predict(data.test.features))
    served, agreement = _student(model, data, plan, student, study.seed)
    names = treatment_names(data.test)
    found: dict[str, Any] = {
        "name": study.name,
        "data": study.data_name,
        "treatments": list(names),
        "level": _LEVEL,
        "reach": interval_factor(_LEVEL),
        "segments": _segments(model, data.test, label),
        "plan": {
            "formulation": FORMULATIONS.name_of(type(solver.formulation)),
            **{
                key: getattr(plan, key).tolist() for key in ("budgets", "choice", "revenue", "cost")
            },
            "violation": plan.violation.tolist(),
            "held_out": [
                _held_out(scores, choice[label], data.test.groups) for choice in plan.choice
            ],
        },
        "student": agreement,
        "tree": _tree(model, data, scores, budget_per_head(study.budgets[0], data.test), solver),
    }
    ServedSegments(served, plan, names, data.encoder).save(folder.path / SERVED)
    folder.write_json(SEGMENTS, found)
    folder.seal(SEGMENTS)
    for name, content in segment_files(found, folder.config_text).items():
        folder.write_bytes(name, content)
    folder.write_report(report_of(folder))
    return found


def _guide(model: SegmentModel) -> AbstractModel:
    """Return the model inside, whose predictions steady estimates; a tree has its leaves alone."""
    return model.segmenter.model if isinstance(model.segmenter, HiddenSegments) else model


def feature_names(rows: UpliftData) -> Sequence[str]:
    """Return the features' names, or ``feature 0`` and so on where there are none."""
    return rows.feature_names or [f"feature {j}" for j in range(rows.features.shape[1])]


def _segments(model: SegmentModel, rows: UpliftData, label: Tensor) -> list[dict[str, Any]]:
    table = model.table
    found = profiles(rows.features, label, table.segments, feature_names(rows))
    keys = ("rows", "revenue", "revenue_error", "cost", "cost_error")
    return [
        {
            "people": one.people,
            "traits": list(one.traits),
            **{key: getattr(table, key)[k].tolist() for key in keys},
        }
        for k, one in enumerate(found)
    ]


def _held_out(scores: Scores, choice: Tensor, groups: Tensor | None) -> dict[str, float]:
    """Return what a choice earns and costs per head on the test rows, which may have groups."""
    own = choice[:, None]
    earned, spent = (one.gather(1, own)[:, 0] for one in (scores.revenue, scores.cost))
    error = mean_error(earned, groups)
    return {"value": float(earned.mean()), "error": error, "cost": float(spent.mean())}


def _student(
    model: SegmentModel, data: HybridData, plan: SegmentPlan, student: str, seed: int
) -> tuple[Any, dict[str, Any] | None]:
    """Return what serves, and how well it stands in for the model."""
    if isinstance(model.segmenter, Tree):
        return model.segmenter, None
    parts = [one.features for one in (data.rct, data.obs, data.validation) if one is not None]
    people = torch.cat(parts)[:_DISTILLED_FROM]
    served = distilled(model.segmenter, people, student, seed=seed)
    test = data.test.features
    agreement = Agreement.of(model.segmenter.assign(test), served.assign(test), model.table, plan)
    return served, {
        "kind": student,
        "segments": agreement.segments,
        "treatments": agreement.treatments.tolist(),
        "revenue_lost": agreement.revenue_lost.tolist(),
        "cost_added": agreement.cost_added.tolist(),
    }


def _tree(
    model: SegmentModel, data: HybridData, scores: Scores, budget: float, solver: Stochastic
) -> dict[str, Any] | None:
    """Grow a tree on half of the validation rows, or fewer, tabulate it on the others, judge it."""
    try:
        share = min(0.5, _GROWN_FROM / len(data.validation))
        growing, tabled = split(data.validation, (share, 1 - share), seed=0)
    except DflError:  # too few rows of a treatment to halve
        return None
    guide, test = _guide(model), data.test
    if isinstance(model.segmenter, Tree):
        tree, table = model.segmenter, model.table
    else:
        own = Scores.of(growing, guide.predict(growing.features))
        tree = grow(
            TreeScores(growing.features, own.revenue, own.cost),
            max(budget, float(own.arm_costs.min())),
            depth=3,
            thresholds=8,
            least=max(len(growing) // 50, 1),
        )
        table = SegmentTable.of(
            tabled, tree.assign(tabled.features), tree.segments, guide.predict(tabled.features)
        )
    planning = Planning(solver=solver)
    budget = max(budget, planning.grid(table, 2, seed=0)[0])
    plan = planning.plan(table, [budget], seed=0)
    choice, names = plan.choice[0], treatment_names(test)
    leaf = tree.assign(test.features)
    people = torch.bincount(leaf, minlength=tree.segments) / len(leaf)
    said = [
        f"{names[int(choice[k])]} ({float(people[k]):.0%} of people)" for k in range(tree.segments)
    ]
    lines = tree_in_words(tree, feature_names(test), said)
    return {"budget": budget, "lines": list(lines), **_held_out(scores, choice[leaf], test.groups)}
