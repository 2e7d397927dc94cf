#!/usr/bin/env bash
# Fills the environment .venv from a lock, and makes it where there is none: requirements/install.sh LOCK
#
# What the lock does not name stays as it is, so that the lock for running never removes the developers' tools. uv does
# the work in a tenth of pip's time: the machine's own, or the wheel that installer.txt names. pip does it where neither
# can be had, or where only pip knows the way to the package index.
#
#   PYTHON=python3    what a fresh environment is made with
set -euo pipefail
cd "$(dirname "$0")/.."

lock=$1
made_with=${PYTHON:-python3}
python=.venv/bin/python

"$made_with" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Carillon needs Python 3.11 or newer; choose one with: make PYTHON=python3.12" >&2
    exit 2
}

# Without a pip of its own, which takes longer than all the rest; the one that made the environment can fill it.
[ -x "$python" ] || "$made_with" -m venv --without-pip .venv

by_pip() {
    local pip=("$python" -m pip)
    if ! "$python" -c 'import pip' 2>/dev/null; then
        if "$made_with" -c 'import pip' 2>/dev/null; then
            pip=("$made_with" -m pip --python "$python")
        else
            "$python" -m ensurepip >/dev/null || {
                echo "there is neither uv nor pip nor Python's ensurepip here (Debian: apt-get install python3-venv)" >&2
                exit 2
            }
        fi
    fi
    "${pip[@]}" --disable-pip-version-check install --quiet "$@"
}

uv=$(command -v uv || true)
if [ -z "$uv" ]; then
    [ -x .venv/bin/uv ] || by_pip --require-hashes -r requirements/installer.txt || echo "without uv, pip goes on" >&2
    [ ! -x .venv/bin/uv ] || uv=.venv/bin/uv
fi

install() {
    if [ -z "$uv" ] || ! "$uv" pip install --quiet --python "$python" "$@"; then by_pip "$@"; fi
}

echo "installing $lock into .venv"
install --require-hashes -r "$lock"
# The lock holds what builds it.
install --no-deps --no-build-isolation --editable .
