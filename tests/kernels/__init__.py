"""Tests of the Triton kernels: interpreted on the CPU, and compiled for a GPU all the same."""
