#!/bin/sh
# The kernels for ARM, cross-built and run by an emulator: their own tests, which end in the scalar bits. Says
# nothing about speed. Where compiler, emulator or libraries cannot be had this is SKIPPED, aloud, and no failure.
# Usage: check_neon.sh [--install]; with --install packages that are missing are fetched (Debian, by another architecture).
set -eu
cd "$(dirname "$0")/.."
cc=aarch64-linux-gnu-gcc
build=build/aarch64
tests='test_kern test_kern_q8'

skip() {
    echo "SKIPPED: the kernels for ARM were not checked: $1"
    echo "0 passed, 0 failed"
    exit 0
}

# Does a program with all libraries build, and run?
works() {
    command -v $cc >/dev/null && command -v qemu-aarch64 >/dev/null || return 1
    printf '%s\n' '#include <stdarg.h>' '#include <stddef.h>' '#include <stdint.h>' '#include <setjmp.h>' \
        '#include <cmocka.h>' '#include <jansson.h>' 'int main(void) { json_decref(json_true()); return 0; }' >"$dir/t.c"
    $cc -o "$dir/t" "$dir/t.c" -ljansson -lcmocka 2>"$dir/why" && qemu-aarch64 "$dir/t" 2>"$dir/why"
}

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
if ! works && [ "${1:-}" = --install ] && command -v dpkg >/dev/null; then
    sudo=$([ "$(id -u)" -eq 0 ] || echo sudo)
    $sudo dpkg --add-architecture arm64 || true
    $sudo apt-get -qq update || true
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y qemu-user gcc-aarch64-linux-gnu \
        libc6-dev-arm64-cross libjansson-dev:arm64 libcmocka-dev:arm64 >"$dir/apt" 2>&1 || tail -n 5 "$dir/apt"
fi
works || skip "$cc, qemu-aarch64, libjansson-dev:arm64 and libcmocka-dev:arm64 are needed"

targets=''
for t in $tests; do targets="$targets $build/tests/$t"; done
# The kernels' tests need no server: fewer libraries of the other architecture will do.
# shellcheck disable=SC2086
make --no-print-directory -j2 CC=$cc LIBS="-ljansson -lm -pthread" WERROR=-Werror $targets
passed=0 failed=0
for t in $tests; do
    rc=0
    qemu-aarch64 "$build/tests/$t" >"$dir/out" 2>&1 || rc=$?
    p=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$dir/out" | awk '{n += $1} END {print n + 0}')
    f=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$dir/out" | awk '{n += $1} END {print n + 0}')
    if [ "$f" -eq 0 ] && { [ $rc -ne 0 ] || [ "$p" -eq 0 ]; }; then f=1; fi
    [ "$f" -eq 0 ] || tail -n 40 "$dir/out"
    echo "$t on ARM: $p passed, $f failed"
    passed=$((passed + p)) failed=$((failed + f))
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
