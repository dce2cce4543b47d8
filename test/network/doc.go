// Package network tests the sandbox's network with real programs: clients and servers from
// Debian's packages in a container and at the other end of its veth, in namespaces that the
// test makes. Each script runs twice at a time, once on either side; what both sides print is
// compared with a run in which the container is a chroot on the host's kernel.
package network
