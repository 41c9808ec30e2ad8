"""`launch`: start a kernel where its tensors are."""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

__all__ = ["launch"]


def launch(kernel: Any, programs: int, *given: Any, exact: bool = False) -> None:
    """Start a kernel on the device of its first argument, which need not be the current one.

    Args:
        kernel: of Triton.
        programs: how many of its programs run.
        given: its arguments, the first of them a tensor.
        exact: without fused multiply-adds, so that scores round as those of plain torch do, and
            ties are the same.
    """
    first: Tensor = given[0]
    with torch.cuda.device(first.device) if first.is_cuda else nullcontext():
        kernel[(programs,)](*given, enable_fp_fusion=not exact)
