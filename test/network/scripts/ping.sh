# ping both ways, both versions, sizes that need fragments, and nobody there.
. /tests/lib.sh
try() { ping "$@" 2>&1 | sed -nE 's/^([0-9]+ packets transmitted, [0-9]+ received).*/\1/p'; }
if [ $side = sandbox ]; then here4=$IN4 there4=$OUT4 here6=$IN6 there6=$OUT6; else here4=$OUT4 there4=$IN4 here6=$OUT6 there6=$IN6; fi
await_other() { signal "ready-$side"; await ready-sandbox; await ready-outside; }
await_other
try -c 3 -i 0.1 $there4; try -6 -c 3 -i 0.1 $there6
try -c 2 -i 0.1 -s 4000 $there4; try -6 -c 2 -i 0.1 -s 4000 $there6
try -c 1 -s 1472 -M do $there4
ping -c 1 -s 1473 -M do $there4 2>&1 | grep -ciE 'too (long|big|large)' || :
try -c 1 $here4; try -6 -c 1 $here6; try -c 1 127.0.0.1; try -6 -c 1 ::1
try -c 2 -i 0.1 -W 2 ${there4%.*}.77
try -c 1 -t 1 $there4
signal "end-$side"; await end-sandbox; await end-outside
