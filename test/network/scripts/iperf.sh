# iperf3 both ways, one and eight streams, both at once, and UDP.
. /tests/lib.sh
if [ $side = sandbox ]; then
	serve iperf3 -s -B 0.0.0.0 -p 5201
	serve iperf3 -s -B $IN6 -p 5202
	until_done
else
	port $IN4 5201; port $IN6 5202
	run() { # run NAME OPTIONS...: one test, again if the server is still busy
		local name=$1 n; shift
		for ((n = 0; n < 5; n++)); do
			if iperf3 -J -t 1 "$@" >out 2>err; then
				sed -nE 's/^.*"bits_per_second":\s*([0-9.e+]+).*/\1/p' out | tail -n 1 | awk -v n="$name" '{printf "%s %.2f Gbit/s\n", n, $1/1e9}' >&2
				echo "$name done"; return
			fi
			sleep 0.3
		done
		echo "$name failed: $(grep -o '"error".*' out || cat err)"
	}
	for v in "4 $IN4 5201" "6 $IN6 5202"; do
		set -- $v
		run "v$1 up 1" -c $2 -p $3; run "v$1 down 1" -c $2 -p $3 -R
		run "v$1 up 8" -c $2 -p $3 -P 8; run "v$1 down 8" -c $2 -p $3 -P 8 -R
		run "v$1 both" -c $2 -p $3 --bidir
		run "v$1 udp 100M" -c $2 -p $3 -u -b 100M; run "v$1 udp down 100M" -c $2 -p $3 -u -b 100M -R
		run "v$1 udp 1G" -c $2 -p $3 -u -b 1G -l 1400
	done
	signal "done"
fi
