#!/usr/bin/env bash
# Everything that is to be known of a GPU, in eight minutes at most: bash benchmarks/gpu.sh
# Builds and installs nothing; needs torch >= 2.6, triton, numpy, numba and pyarrow for the
# interpreter that PYTHON names. On any machine: bash benchmarks/gpu.sh --device cpu --small
# What was measured by then is kept even where time is up. Options: see benchmarks/gpu.py.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" exec timeout 480 "${PYTHON:-python3}" -m benchmarks.gpu "$@"
