"""`cost_corrections`: costs are corrected where the experiment refutes those of the logs."""

from collections.abc import Sequence

from torch import Tensor

from dfl.models.grounding.correction import Correction, CorrectionForm
from dfl.models.grounding.evidence import Evidence

__all__ = ["cost_corrections"]

_JUDGE = CorrectionForm(multiplicative=False)  # linear, so quick
_REFUTED = 200.0  # twice the log evidence; up to 60 in our worlds where correcting does not pay
_MATTERS = 0.1  # of the size of the differences between treatments


def cost_corrections(
    evidence: Evidence, mean_cost: Tensor, forms: Sequence[CorrectionForm]
) -> tuple[Correction, ...]:
    """Fit corrections of costs, none unless the logs' costs are refuted.

    Errors of predicted revenue and cost are alike, since both come from how much somebody buys,
    and cancel in what decides, so that small corrections of cost do not pay. Where costs in the
    logs are biased in a way of their own, or wrong altogether (another unit, a fee, under the
    wrong treatment), nothing cancels. They count as refuted if twice the log evidence for a bias
    of their own, judged by the additive form, is above 200, and that form changes the predicted
    differences between treatments by more than a tenth of their mean size.

    Args:
        evidence: costs beside their predictions.
        mean_cost: of each treatment in the experiment. Shape ``(M,)``.
        forms: of the corrections.

    Source:
        Our own; thresholds on development seeds, see docs/grounded.md.
    """
    (judged,) = Correction.fit(evidence, mean_cost, [_JUDGE])
    if judged.disagreement is None or judged.disagreement < _REFUTED:  # None: no logs
        return ()
    trial = ~evidence.logged
    before = evidence.predicted[trial].double()
    after = judged(before, evidence.features[trial])
    moved = _differences(after - before).abs().mean()
    if not moved > _MATTERS * _differences(before).abs().mean():
        return ()
    return Correction.fit(evidence, mean_cost, forms)


def _differences(outcome: Tensor) -> Tensor:
    """Return each treatment less the mean over treatments. Shape ``(N, M)``."""
    return outcome - outcome.mean(dim=1, keepdim=True)
