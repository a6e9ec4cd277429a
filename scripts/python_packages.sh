# For scripts that need Python packages: to be sourced, from the project's root.

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

# install_packages VENV REQUIREMENTS [PIP'S OPTIONS…]: does nothing where these very requirements were installed before. What
# it says goes through the caller's `say`.
install_packages() {
    local venv=$1 requirements=$2
    shift 2
    # A copy of the requirements that the packages were installed from.
    local installed=$venv/requirements.txt
    if [[ -x $venv/bin/python ]] && cmp -s "$requirements" "$installed"; then return; fi
    have_venv || install_venv
    say "installing the packages of $requirements into $venv"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip --quiet --disable-pip-version-check install --only-binary=:all: "$@" \
        --requirement "$requirements"
    # Last, so that an interrupted run is repeated.
    cp "$requirements" "$installed"
}
