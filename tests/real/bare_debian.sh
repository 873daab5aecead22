#!/bin/sh
# Install warmside on a bare Debian with its stock ejabberd: pip install, warmside setup --apply, warmside check JID.
#
#   tests/real/bare_debian.sh [RELEASE...]    default: bookworm trixie
#
# Each release gets a chroot in .chroots/bare-RELEASE, made once by debootstrap from this machine's own Debian mirror.
# Every run works on its own temporary chroot, in its own network and process namespaces: ports of this machine are
# not used, and every process ends with the run. Needs root.
set -eu

[ $# != 0 ] || set -- bookworm trixie
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "bare_debian.sh: run it as root: debootstrap, chroot and unshare need root" >&2; exit 2; }

# Make the chroot of release $1 in folder $2, unless it is there.
need_chroot() {
    [ ! -e "$2/complete" ] || return 0
    mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep '/debian/$' | head -n 1)
    echo "==> debootstrap $1 (once; some minutes)"
    rm -rf "$2"
    mkdir -p "$2"
    debootstrap --variant=minbase --include=ca-certificates,procps,python3-venv,curl,systemd "$1" "$2" "$mirror" >"$2.log" ||
        { tail "$2.log" >&2; return 1; }
    # There is no init in the chroot that could start a service.
    printf '#!/bin/sh\nexit 101\n' >"$2/usr/sbin/policy-rc.d"
    chmod 755 "$2/usr/sbin/policy-rc.d"
    unshare --mount --fork sh -euc 'mount -t proc proc "$1/proc"
        DEBIAN_FRONTEND=noninteractive chroot "$1" apt-get install -y -qq ejabberd' sh "$2" >>"$2.log" 2>&1 ||
        { tail "$2.log" >&2; return 1; }
    touch "$2/complete"
}

status=0
for release in "$@"; do
    base=$(pwd)/.chroots/bare-$release
    need_chroot "$release" "$base"
    root=$(mktemp -d "$(pwd)/.chroots/run-$release-XXXXXX")
    trap 'rm -rf --one-file-system "$root"' EXIT
    cp -a --reflink=auto "$base/." "$root"
    for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
        [ ! -e "$file" ] || cp "$file" "$root$file"
    done
    mkdir "$root/checkout"
    tar --create --exclude='./.[a-z]*' --exclude='*.egg-info' --exclude=__pycache__ . | tar --extract --directory "$root/checkout"
    cp tests/real/bare_debian_inside.sh "$root/inside.sh"
    started=$(date +%s)
    echo "==> $release: install"
    chroot "$root" sh -euxc 'python3 -m venv /opt/warmside
        /opt/warmside/bin/pip install --quiet --disable-pip-version-check /checkout'
    unshare --mount --net --pid --fork --kill-child sh -euc '
        ip link set lo up 2>/dev/null || python3 -c "
import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack(\"16sh22x\", b\"lo\", 0x41))"
        mount -t proc proc "$1/proc"
        mount -t tmpfs tmpfs "$1/run"
        for hidden in root home; do mount -t tmpfs tmpfs "$1/$hidden"; done   # as ProtectHome of the unit
        exec chroot "$1" sh -eu /inside.sh' sh "$root" || status=1
    echo "==> $release: $(($(date +%s) - started)) s, status $status"
    rm -rf --one-file-system "$root"
    trap - EXIT
done
exit $status
