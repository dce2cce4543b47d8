#!/bin/bash
# Shows the sandbox at work: a shell of this machine's root directory, under a kernel of
# its own. `runsc do` needs root for its namespaces and the gofer.
set -u
cd "$(dirname "$0")/.."
exec bin/runsc --network=none do /bin/sh -c '
	echo "kernel:   $(uname -s) $(uname -r) $(uname -m)"
	echo "version:  $(cat /proc/version)"
	echo "host:     $(uname -n)"
	echo "root:     $(grep " / " /proc/mounts)"
	echo "uptime:   $(cat /proc/uptime)"
	echo "pid:      $$"
	echo "shell:    $(readlink /proc/$$/exe)"
'
