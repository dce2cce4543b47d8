# stress-ng: stressors that pass on the host, three at a time, two instances of each, for SOAK seconds (1).
set -u
stress() {
	mkdir "$1" && cd "$1" || return
	if timeout -k 5 $((${SOAK:-1} + 60)) stress-ng --"$1" 2 --timeout "${SOAK:-1}s" >../out."$1" 2>&1; then
		echo passes >>../out."$1"
	fi
}
while read -r a b c; do
	for s in $a $b $c; do stress $s & done
	wait
	for s in $a $b $c; do
		if [ "$(tail -n 1 out.$s)" = passes ]; then echo "$s passes"; else echo "$s fails"; tail -n 5 out.$s; fi
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
