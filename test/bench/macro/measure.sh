# For the workloads of test/bench: they source this file, prepare their work below /work,
# and measure it. SIZE is how much of it to do, in percent.
set -euo pipefail
cd /work

# scaled N is N by SIZE, and 1 at least.
scaled() { local n=$(($1 * SIZE / 100)); echo $((n < 1 ? 1 : n)); }

# measured NAME COMMAND... runs a command, whose output nobody sees unless it fails, and
# prints how many seconds it took.
measured() {
	local name=$1 began=$EPOCHREALTIME ended
	shift
	"$@" >/tmp/measured.out 2>&1 || { local rc=$?; tail -n 5 /tmp/measured.out >&2; return $rc; }
	ended=$EPOCHREALTIME
	local us=$((${ended/./} - ${began/./}))
	printf 'measured %s %d.%06d\n' "$name" $((us / 1000000)) $((us % 1000000))
}

# tree DIR N makes N small files in directories of a hundred.
tree() {
	local i
	for ((i = 0; i < $2; i++)); do
		((i % 100)) || mkdir -p "$1/$((i / 100))"
		printf '%s line of file %d\n' {0..40} $i >"$1/$((i / 100))/file$i"
	done
}

# want WHAT EXPECTED GOT ends the workload unless the last two are the same.
want() { [ "$2" = "$3" ] || { echo "$1: want $2, got $3" >&2; exit 1; }; }
