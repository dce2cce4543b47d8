module runsc

go 1.26.8

require (
	github.com/cenkalti/backoff v2.2.1+incompatible
	github.com/gofrs/flock v0.13.2
	github.com/google/subcommands v1.2.0
	github.com/kr/pty v1.1.8
	github.com/opencontainers/runtime-spec v1.2.1
	golang.org/x/sys v0.49.0
)

require github.com/creack/pty v1.1.7 // indirect
