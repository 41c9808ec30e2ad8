"""Tests of the Triton kernels: interpreted on the CPU, compiled for a GPU that need not be there."""
