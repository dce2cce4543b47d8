# bash: pipelines, jobs, traps, here-documents, process substitution, arrays, coprocesses.
set -u
echo "== pipelines"
seq 1000 | grep 7 | sort -rn | head -n 3 | tr '\n' ' '; echo
printf '%s\n' {a..e}{1..3} | paste -sd' '
false | true; echo "${PIPESTATUS[@]}"
set -o pipefail; false | true; echo $?; set +o pipefail
echo "== jobs"
for i in 1 2 3; do (sleep 0.$((4*i-3)); exit $i) & done
wait -n; echo "first: $?"; wait; echo all done
sleep 100 & kill -TERM $!; wait $!; echo "killed: $?"
sleep 100 & p=$!; disown $p; kill $p; jobs | wc -l
(set -m; sleep 100 & p=$!; kill -STOP $p; for i in {1..100}; do grep -q '^State:.T' /proc/$p/status && break; sleep 0.05; done; echo $((i < 100)); kill -CONT $p; kill -TERM $p; wait $p; echo "stopped and killed: $?") 2>/dev/null
echo "== traps"
(trap 'echo exit trap' EXIT; trap 'echo usr1' USR1; kill -USR1 $BASHPID; echo body)
(trap 'echo int; exit 3' INT; kill -INT $BASHPID; echo not reached); echo $?
bash -c 'trap "echo err line" ERR; false; true'
echo "== here"
cat <<A; cat <<'B'; cat <<<"string $((2**10))"
sum $((1+2))
A
raw $((1+2))
B
echo "== process substitution"
diff <(seq 1 5) <(seq 1 2 9)
paste -d, <(seq 3) <(seq 4 6)
tee >(wc -c >n) <<<"twelve chars" >/dev/null; sleep 0.2; cat n
echo "== arrays and strings"
declare -A m=([one]=1 [two]=2); echo ${m[one]} ${#m[@]}
a=(x y z); echo ${a[@]:1} ${#a[@]} ${a[-1]}
s=hello.tar.gz; echo ${s%%.*} ${s^^} ${s/l/L} ${s:1:3}
echo "== coprocess"
coproc cat; echo through >&${COPROC[1]}; read -r x <&${COPROC[0]}; echo $x; exec {COPROC[1]}>&-; wait $COPROC_PID
echo "== descriptors"
exec 7<>f; echo line >&7; exec 7>&-; cat f
exec {fd}<f; read -r l <&$fd; echo $l; exec {fd}<&-
{ echo o; echo e >&2; } 2>&1 | sort
echo "== limits and loops"
ulimit -n 50; ulimit -n
n=0; while ((n < 20000)); do ((n++)); done; echo $n
for i in {1..100}; do :| :; done; echo pipes
mapfile -t lines < <(seq 500); echo ${#lines[@]}
timeout 0.2 sleep 10; echo $?
printf '%(%Y)T\n' 0
