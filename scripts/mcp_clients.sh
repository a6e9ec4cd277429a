#!/usr/bin/env bash
# Installs the MCP clients that the tests ask with, beside what `scripts/install.sh` brings: the official Python SDK in
# target/mcp/venv, and the MCP inspector in target/mcp/node_modules. With nothing missing it does nothing.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly folder=target/mcp
readonly venv=$folder/venv
readonly requirements=tests/mcp/requirements.txt

say() { printf 'mcp clients: %s\n' "$*" >&2; }

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

install_sdk() {
    if [[ -x $venv/bin/python ]] && cmp -s "$requirements" "$venv/requirements.txt"; then return; fi
    have_venv || install_venv
    say "installing the packages of $requirements into $venv"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip --quiet --disable-pip-version-check install --no-deps --only-binary=:all: \
        --requirement "$requirements"
    # Last, so that an interrupted run is repeated.
    cp "$requirements" "$venv/requirements.txt"
}

# The test says what is missing where there is no node.
install_inspector() {
    if cmp -s tests/mcp/package-lock.json "$folder/installed-lock.json"; then return; fi
    if ! command -v npm >/dev/null 2>&1; then
        say 'missing: node and npm, so the inspector is not installed; the test that runs it says what to do'
        return
    fi
    say "installing the MCP inspector into $folder/node_modules"
    cp tests/mcp/package.json tests/mcp/package-lock.json "$folder"
    # Its command line needs none of the scripts that come with the packages.
    npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund --loglevel=error
    cp tests/mcp/package-lock.json "$folder/installed-lock.json"
}

mkdir -p "$folder"
install_sdk
install_inspector
