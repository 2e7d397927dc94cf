#!/usr/bin/env bash
# Builds the six images as root on a Debian machine that has neither a container engine nor a registry: buildah with
# chroot isolation, on a base that debootstrap makes from this machine's package sources. What comes out is for checking
# the Dockerfile; images that are deployed are built on the base that it names, by whatever engine there is.
#
#   BUILD=var/images   where the base and the packages are kept from one build to the next
#   TRACING=           not empty: with what OpenTelemetry needs
#   PYTHON=python3     whose pip fetches the packages; of the base's version, so that they fit
set -euo pipefail
cd "$(dirname "$0")/../.."

build=${BUILD:-var/images}
python=${PYTHON:-.venv/bin/python}
tracing=${TRACING:-}
services=(router email sms push realtime carillon)
base=localhost/carillon-base
# A layer store of our own, gone with the folder.
buildah=(buildah --root "$PWD/$build/storage" --runroot "$PWD/$build/run")

[ "$(id -u)" = 0 ] || { echo "make images needs root: chroot isolation" >&2; exit 2; }
missing=()
for program in buildah debootstrap; do
    command -v "$program" >/dev/null || missing+=("$program")
done
if ((${#missing[@]})); then
    apt-get update --quiet=2
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}" >/dev/null
fi
mkdir -p "$build/packages"

if ! "${buildah[@]}" images --quiet "$base" >/dev/null 2>&1; then
    echo "base: $base"
    . /etc/os-release
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Suite: $VERSION_CODENAME" | head -n 1)
    rm -rf "$build/root"
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv \
        "$VERSION_CODENAME" "$build/root" "$mirror" >"$build/debootstrap.log"
    rm -rf "$build"/root/var/cache/apt/* "$build"/root/var/lib/apt/lists/* "$build"/root/usr/share/{doc,man,locale}/*
    container=$("${buildah[@]}" from scratch)
    "${buildah[@]}" add --quiet "$container" "$build/root" / >/dev/null
    "${buildah[@]}" commit --quiet --rm "$container" "$base" >/dev/null
    rm -rf "$build/root"
fi

# Fetched outside, where the index is set up. Without the locks' markers, which are judged in the image: its Python may be
# older than this one. setuptools builds the few that come as source.
for service in "${services[@]}" ${tracing:+tracing}; do
    sed -E 's/ ; .*\\$/ \\/' "requirements/$service.txt" >"$build/$service.txt"
    "$python" -m pip download --quiet --no-deps --require-hashes --dest "$build/packages" -r "$build/$service.txt"
done
"$python" -m pip download --quiet --dest "$build/packages" setuptools wheel

version=$("$python" -c 'from carillon.version import VERSION; print(VERSION)')
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
for service in "${services[@]}"; do
    "${buildah[@]}" build --quiet --isolation chroot --layers --pull-never --target "$service" \
        --build-arg "BASE_IMAGE=$base" --build-arg "PIP_OPTIONS=--no-index --find-links=/packages" \
        --build-arg "TRACING=$tracing" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" --volume "$PWD/$build/packages:/packages:ro" \
        --tag "localhost/carillon/$service:$version" . >/dev/null
    echo "built localhost/carillon/$service:$version"
done
