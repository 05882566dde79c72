#!/bin/sh
# src/text/unicode_data.c is generated; an edit by hand or a change of tools/unicode.txt without a new run shows here.
set -eu
cd "$(dirname "$0")/../.."
sh tools/make_unicode.sh | diff - src/text/unicode_data.c
