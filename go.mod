module runsc

go 1.26.8

require (
	github.com/cenkalti/backoff v2.2.1+incompatible // indirect
	github.com/creack/pty v1.1.7 // indirect
	github.com/gofrs/flock v0.13.2 // indirect
	github.com/google/subcommands v1.2.0 // indirect
	github.com/kr/pty v1.1.8 // indirect
	github.com/opencontainers/runtime-spec v1.2.1 // indirect
	github.com/syndtr/gocapability v0.0.0-20200815063812-42c35b437635 // indirect
	github.com/vishvananda/netlink v1.3.1 // indirect
	github.com/vishvananda/netns v0.0.5 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
