#!/bin/sh
# A callback in any language: the body on standard input, the headers in OUTBOX_HEADER_<NAME>.
# Exit code 0 means done; any other, that it is to be tried again.
set -eu
body=$(cat)
printf '%s %s\n' "$OUTBOX_HEADER_X_KIND" "$body" >>"$EXAMPLE_OUTPUT"
