// Package software runs real programs from Debian's packages in the sandbox and compares
// what they say with what they say in a chroot of the same root filesystem on the host's
// kernel.
//
// scripts/ holds one script a topic; each prints only what must be the same in both runs,
// and is run in a directory of its own on the root filesystem. The root comes from
// debootstrap (rootfs.sh), cached below .cache/; every run sees it through an overlay of
// its own, so that even dpkg may change it. Beside the scripts: goprog, a Go program built
// by the test, and a build of runsc itself with this machine's Go tool chain.
package software
