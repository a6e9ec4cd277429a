#!/usr/bin/env bash
# Installs what the benchmarks need beside what `scripts/install.sh` brings: Python packages for benches/pipelined.py, in
# target/bench/venv. With nothing missing it does nothing.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'bench: %s\n' "$*" >&2; }

. scripts/python_packages.sh

install_packages target/bench/venv benches/requirements.txt
