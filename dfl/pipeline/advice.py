"""`rank_advice`: where a setting of training that is off by default may help."""

from dfl.data import HybridData
from dfl.methods import AbstractMethod, Training

__all__ = ["rank_advice"]

_JUDGED = 20_000  # rows
_HELD = 0.25  # share of the rows that one value holds
_VALUES = 10  # that a feature takes at least: with fewer its steps are learned as they are
_SHOWN = 3


def rank_advice(method: AbstractMethod, data: HybridData) -> str | None:
    """Say where `Training.ranks` may help: one value holds many rows of a feature of amounts.

    Args:
        method: what is trained.
        data: its rows; training rows are looked at, 20,000 at most.

    Returns:
        A sentence, or None where nothing is held by a quarter of the rows, ranks are given
        already, or the method has no such setting.
    """
    settings = getattr(getattr(method, "base", method), "training", None)
    part = data.obs if data.obs is not None else data.rct
    if part is None or not isinstance(settings, Training) or settings.ranks:
        return None
    step = -(-len(part) // _JUDGED)
    columns = part.features[::step].cpu().T.contiguous().sort(dim=1).values
    values = 1 + (columns.diff(dim=1) != 0).sum(dim=1)
    held = (columns == columns.mode(dim=1, keepdim=True).values).double().mean(dim=1)
    found = ((held >= _HELD) & (values >= _VALUES)).nonzero().flatten()
    if not len(found):
        return None
    names = part.feature_names or tuple(f"feature {k}" for k in range(len(held)))
    most = found[held[found].argsort(descending=True, stable=True)][:_SHOWN].tolist()
    shown = ", ".join(f"{names[k]} ({float(held[k]):.0%})" for k in most)
    more = f" and {len(found) - len(most)} more" if len(found) > len(most) else ""
    return (
        f"One value holds many rows of {shown}{more}: training.ranks may help, which gives "
        "networks ranks and what is off that value (--set training.ranks=true; docs/training.md)."
    )
