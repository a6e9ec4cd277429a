#!/usr/bin/env bash
# Installs the MCP clients that the tests ask with, beside what `scripts/install.sh` brings: the official Python SDK in
# target/mcp/venv, and the MCP inspector in target/mcp/node_modules. With nothing missing it does nothing.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly folder=target/mcp

say() { printf 'mcp clients: %s\n' "$*" >&2; }

. scripts/python_packages.sh

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
install_packages "$folder/venv" tests/mcp/requirements.txt --no-deps
install_inspector
