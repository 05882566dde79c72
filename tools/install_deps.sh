#!/bin/sh
# Installs what the build needs and is not there. Says nothing if nothing is missing.
# Usage: install_deps.sh [CC]
set -eu
cc=${1:-gcc}

# package, and the header by which its presence is seen
headers='libc6-dev stdio.h
libjansson-dev jansson.h
libmicrohttpd-dev microhttpd.h
libedit-dev histedit.h
libcurl4-openssl-dev curl/curl.h
libcmocka-dev cmocka.h'

missing=''
if ! command -v "$cc" >/dev/null; then
    missing=$(basename "$cc")
fi
while read -r package header; do
    # cmocka.h wants others before it
    printf '#include <%s>\n' stdarg.h stddef.h stdint.h setjmp.h "$header" |
        "$cc" -E -x c - >/dev/null 2>&1 || missing="$missing $package"
done <<END
$headers
END
missing=${missing# }
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "There is no apt-get here; please install what your system calls these packages of Debian: $missing" >&2
    exit 1
fi
root=''
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "Packages are missing; please run as root: apt-get install $missing" >&2
        exit 1
    fi
    root=sudo
fi
echo "Installing $missing by apt-get"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# An index that cannot be refreshed (an unreachable third-party source, say) may still hold all that is needed.
# shellcheck disable=SC2086
if ! { $root apt-get -qq update || true; } >"$log" 2>&1 ||
    ! $root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq install -y --no-install-recommends $missing >>"$log" 2>&1; then
    cat "$log" >&2
    echo "apt-get could not install $missing" >&2
    exit 1
fi
