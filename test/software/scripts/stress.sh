# stress-ng: stressors that pass on the host, three at a time, two instances of each, for SOAK seconds (1).
# Some end early on a busy machine, in any kernel: mutex calls it "out of resources" (status 3) when
# its time was over before its threads had started, pthread is unsuccessful (2) without a failure to
# name. Such a run is repeated, up to twice, a second longer each time; one that names a failure or
# does not end is not.
set -u
stress() {
	mkdir "$1" && cd "$1" || return
	for more in 0 1 2; do
		t=$((${SOAK:-1} + more))
		timeout -k 5 $((t + 60)) stress-ng --"$1" 2 --timeout "${t}s" >../out."$1" 2>&1
		code=$?
		case $code in
		2) ! grep -q ' fail: ' ../out."$1" || break ;;
		3) ;;
		*) break ;;
		esac
	done
	if [ $code = 0 ]; then
		echo passes >>../out."$1"
	fi
}
failed=0
while read -r a b c; do
	for s in $a $b $c; do stress $s & done
	wait
	for s in $a $b $c; do
		if [ "$(tail -n 1 out.$s)" = passes ]; then
			echo "$s passes"
		else
			echo "$s fails"
			tail -n 5 out.$s
			failed=1
		fi
	done
done <<'END'
madvise fork futex
access atomic brk
chdir chmod clock
clone context dentry
dir dup eventfd
epoll fallocate fault
fcntl fifo flock
fstat getdent hrtimers
itimer kill link
lockf malloc mprotect
memfd mmap shm-sysv
mq mremap msg
mutex pipe poll
pthread rename sem
sem-sysv sendfile shm
sigfd sigq sigsegv
sock sockpair splice
switch timer timerfd
udp vfork wait
END
exit $failed
