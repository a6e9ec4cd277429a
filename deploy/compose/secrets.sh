#!/usr/bin/env bash
# Makes the secrets of compose.yaml, in the folder secrets/ beside it. Those that are there stay.
set -euo pipefail
umask 077

cd "$(dirname "${BASH_SOURCE[0]}")"
mkdir -p secrets

# Compose mounts these files with the owner and the mode they have here, and the containers have users of their own. So
# everybody may read the files, and nobody else may enter the folder.
secret() { # name, value
    if [[ ! -s secrets/$1 ]]; then printf '%s' "$2" >"secrets/$1"; fi
    chmod 644 "secrets/$1"
}

random() { openssl rand -hex 32; }

secret postgres-password "$(random)"
secret postgres-url "postgres://sessionfold:$(cat secrets/postgres-password)@postgres:5432/sessionfold"
secret http-token "$(random)"
secret grafana-password "$(random)"
