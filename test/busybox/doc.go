// Package busybox compares what busybox prints in the sandbox with what it prints in a
// chroot of the same root filesystem on the host's kernel.
//
// Each case is one shell command run in an empty directory of its own, once below /tmp (a
// tmpfs). Standard output, standard error and the exit code must be equal to the byte, so a
// case avoids what may differ by design: process ids, times, the kernel's name, the list
// of mounts. All cases run in one container, each under a time limit; those without a
// result, because the container died or hung, run again in one of their own.
package busybox
