# What the scripts of test/network share. Each runs twice, at the same time: in the container
# with the argument "sandbox", in the namespace at the other end of the veth with "outside".
# IN4, IN6 are the container's addresses, OUT4, OUT6 the other end's. /shared is one directory
# for both. What a script prints is compared with another runtime's, so it has no times.
set -eu
cd /work
side=$1

# signal NAME and await NAME: one side tells the other that it is as far.
signal() { : >"/shared/$1"; }
await() {
	local n
	for ((n = 0; n < 600; n++)); do [ -e "/shared/$1" ] && return 0; sleep 0.05; done
	echo "$side: $1 did not come" >&2; exit 1
}

# port ADDRESS PORT waits until something listens there.
port() {
	local n
	for ((n = 0; n < 400; n++)); do nc -z -w 2 "$1" "$2" 2>/dev/null && return 0; sleep 0.05; done
	echo "$side: nothing listens at $1 port $2" >&2; exit 1
}

# serve COMMAND... runs it until the script ends.
pids=()
serve() { "$@" >"server.${#pids[@]}" 2>&1 & pids+=($!); }
finish() {
	local rc=$?
	if [ $rc != 0 ]; then for f in server.*; do [ -s "$f" ] && { echo "--- $f"; tail -n 20 "$f"; } >&2; done; fi
	[ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || :
	exit $rc
}
trap finish EXIT

# until_done keeps the servers of this side until the other side says that it is done.
until_done() { await "done"; }

# about WHAT VALUE LEAST says whether a number is at least so much, for results that vary.
about() { if [ "$(echo "$2 >= $3" | bc)" = 1 ]; then echo "$1 fine"; else echo "$1 is $2, less than $3"; fi; }
