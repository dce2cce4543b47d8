#!/bin/bash
# Runs phases of `make test` one after the other, whatever the earlier ones did, and closes
# with a table and the sum of what they counted.
#
#   phases.sh PHASE...      each is a target test-PHASE of the Makefile
set -u
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT

passed=0 failed=0 skipped=0 table=
started=$SECONDS
for phase; do
	printf '\n==== %s ====\n' "$phase"
	t0=$SECONDS
	${MAKE:-make} -s --no-print-directory "test-$phase" </dev/null 2>&1 | tee "$log"
	rc=${PIPESTATUS[0]}
	# The last closing line of the phase counts; a phase without one counts as one test.
	read -r p f s < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' "$log" | tail -n 1)
	if [ -z "${p:-}" ]; then
		p=0 f=0 s=0
		if [ "$rc" != 0 ]; then f=1; elif grep -q '^SKIP ' "$log"; then s=1; else p=1; fi
	elif [ "$rc" != 0 ] && [ "$f" = 0 ]; then
		f=1
	fi
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	word=ok; [ "$rc" = 0 ] || word=FAILED
	table+=$(printf '%-10s %-7s %5ds  %5d passed %5d failed %5d skipped' "$phase" $word $((SECONDS - t0)) "$p" "$f" "$s")$'\n'
	[ "$rc" = 0 ] || any=1
done
printf '\n==== summary (%d s) ====\n%s' $((SECONDS - started)) "$table"
printf '%d passed, %d failed, %d skipped\n' $passed $failed $skipped
exit ${any:-0}
