#!/bin/sh
# Install Debian packages into a copy-on-write view of a root; what they add is left in UPPER.
# usage (in mount and pid namespaces of its own): add_packages.sh BASE UPPER WORK ROOT PACKAGE...
set -eu
base=$1 upper=$2 work=$3 root=$4
shift 4
mount -t overlay -o "lowerdir=$base,upperdir=$upper,workdir=$work,redirect_dir=off,metacopy=off" \
	overlay "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
# Nothing in a chroot may start services.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
cat /etc/resolv.conf >"$root/etc/resolv.conf"
DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 chroot "$root" \
	apt-get -o Dpkg::Use-Pty=0 -qq --yes --no-install-recommends install "$@" >&2
rm "$root/usr/sbin/policy-rc.d" "$root/etc/resolv.conf"
