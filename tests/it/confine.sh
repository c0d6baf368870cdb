#!/bin/sh
# confine.sh LEVEL FOLDER PROGRAM [ARGUMENT…]
#
# Runs PROGRAM as an ordinary user without any capability and without /dev/net/tun (LEVEL "unprivileged"), or
# besides that as a container would: read-only file systems, /proc/sys included, and a seccomp filter (LEVEL
# "confined"). `ip netns exec` has given us a mount namespace of our own.
set -eu
level=$1 folder=$2
shift 2

if [ -e /dev/net/tun ]; then
    mount --bind /dev/null /dev/net/tun
fi

if [ "$level" = confined ]; then
    while read -r _ _ _ _ target _; do
        case $target in
        /proc | /proc/* | /dev/pts | /dev/net/tun) ;;
        *) mount -o remount,bind,ro "$target" || echo "confine.sh: $target stays writable" >&2 ;;
        esac
    done </proc/self/mountinfo
    mount --bind /proc/sys /proc/sys
    mount -o remount,bind,ro /proc/sys
    set -- /usr/bin/python3 -I "$folder/seccomp.py" "$@"
fi

cd /
export HOME=/nonexistent
exec setpriv --reuid 65534 --regid 65534 --clear-groups \
    --inh-caps=-all --ambient-caps=-all --bounding-set=-all --no-new-privs -- "$@"
