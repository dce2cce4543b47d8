// Package e2e drives the runtime as an operator and a container engine do: through its
// command line, one container after another and many at once.
//
// lifecycle_test.go follows a container from create to delete; errors_test.go asks for
// everything that cannot work and wants one clear line and nothing left behind;
// stdio_test.go and pty_test.go look at standard streams and terminals; blocked_test.go
// kills containers in every state a task can be in; load_test.go runs hundreds, and hogs.
//
// RUNTIME=/usr/sbin/runc checks the tests themselves; what is beyond runc's command line is
// skipped there, and says so.
package e2e
