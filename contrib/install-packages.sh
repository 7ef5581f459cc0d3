#!/bin/bash
# Install the Debian packages of a list that are missing. No service is started by it: the lab
# starts its own daemons in its own namespaces.
set -euo pipefail

list=$1
missing=()
while read -r package _; do
    [ -n "$package" ] || continue
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done <<<"$(sed 's/#.*//' "$list")"
[ "${#missing[@]}" -gt 0 ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
    echo "hpcbox: these Debian packages are missing: ${missing[*]} — install them as root" >&2
    exit 1
fi
echo "installing ${#missing[@]} Debian packages (once)"
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
log=build/apt.log
{ apt-get update -q && apt-get install -qy --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    echo "hpcbox: apt-get could not install: ${missing[*]} — the whole log is in $log" >&2
    exit 1
}
