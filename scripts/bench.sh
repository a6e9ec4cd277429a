#!/usr/bin/env bash
# Installs what the benchmarks need beside what `scripts/install.sh` brings: Python packages for benches/pipelined.py, in
# target/bench/venv. With nothing missing it does nothing.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly venv=target/bench/venv
readonly requirements=benches/requirements.txt
# A copy of the requirements that the packages were installed from.
readonly installed=$venv/requirements.txt

say() { printf 'bench: %s\n' "$*" >&2; }

# Debian's python3 has the module venv, but not what it puts into a new environment.
have_venv() { python3 -c 'import venv, ensurepip' >/dev/null 2>&1; }

install_venv() {
    local as_root=()
    if ! command -v apt-get >/dev/null 2>&1; then
        say "missing: Python's venv. Install it with the package manager of this system."
        exit 1
    fi
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null 2>&1; then
            say 'root is needed to run: apt-get install python3-venv'
            exit 1
        fi
        as_root=(sudo)
    fi
    say 'installing: python3-venv'
    "${as_root[@]}" apt-get update
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3-venv
}

if [[ -x $venv/bin/python ]] && cmp -s "$requirements" "$installed"; then exit; fi
have_venv || install_venv
say "installing the packages of $requirements into $venv"
rm -rf "$venv"
python3 -m venv "$venv"
"$venv/bin/python" -m pip --quiet --disable-pip-version-check install --only-binary=:all: --requirement "$requirements"
# Last, so that an interrupted run is repeated.
cp "$requirements" "$installed"
