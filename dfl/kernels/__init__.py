"""Triton kernels for the GPU, each beside its eager twin and reached by the same call."""

from dfl.kernels.switch import by_triton, check_triton, triton_asked_for, triton_kernels

__all__ = ["by_triton", "check_triton", "triton_asked_for", "triton_kernels"]
