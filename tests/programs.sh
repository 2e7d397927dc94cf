#!/usr/bin/env bash
# Sees to the programs that tests and measurements run against: tests/programs.sh PROGRAM...
# As root on Debian it installs what is missing; elsewhere it names it in one line and ends with status 2.
set -euo pipefail
# Debian keeps servers where the PATH of an ordinary user does not lead; so does Homebrew.
PATH="$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin:/usr/local/bin:/opt/homebrew/bin"

package_of() {
    case $1 in
        mosquitto_pub) echo mosquitto-clients ;;
        smtp-sink) echo postfix ;;
        *) echo "$1" ;;
    esac
}

missing=() packages=()
for program in "$@"; do
    if ! command -v "$program" >/dev/null; then
        missing+=("$program")
        packages+=("$(package_of "$program")")
    fi
done
if ((${#missing[@]} == 0)); then
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update --quiet=2
    # Postfix asks otherwise, and is to stay off.
    echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "${packages[@]}" >/dev/null
    exit 0
fi
echo "missing: ${missing[*]} (Debian: apt-get install ${packages[*]})" >&2
exit 2
