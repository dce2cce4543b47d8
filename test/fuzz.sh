#!/bin/bash
# Runs every fuzz target of the tree for the given time each.
#
#   fuzz.sh [TIME]     e.g. 10s (default), 5m
set -u
cd "$(dirname "$0")/.."
time=${1:-10s} go=${GO:-go} passed=0 failed=0
while IFS=: read -r file target; do
	echo "== $target in $(dirname "$file")"
	if $go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "./$(dirname "$file")"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
done < <(grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' cmd pkg runsc test | sed 's/func //' | sort)
echo "$passed passed, $failed failed"
[ $failed = 0 ]
