"""The device of these tests: a GPU, or the CPU, where Triton interprets."""

import pytest
import torch


@pytest.fixture
def device() -> torch.device:
    """Where kernels run."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
