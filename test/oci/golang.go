package oci

import (
	"fmt"
	"os/exec"
	"strings"
)

// GoEnv is the environment in which a program of a root filesystem builds this tree with
// this machine's tool chain, seen through GoBinds. What it builds goes below /work.
func GoEnv() []string {
	return []string{"GOPROXY=off", "GOFLAGS=-buildvcs=false", "GOCACHE=/work/cache", "GOMODCACHE=/go", "GOTOOLCHAIN=local", "CGO_ENABLED=0", "GOTELEMETRY=off"}
}

// GoBinds lists what GoEnv needs of the host: the tool chain, the modules, and the source
// tree at /src.
func GoBinds(top string) ([]string, error) {
	out, err := exec.Command("go", "env", "GOROOT", "GOMODCACHE").Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	dirs := strings.Fields(string(out))
	if len(dirs) != 2 {
		return nil, fmt.Errorf("go env: want two directories, got %q", dirs)
	}
	return []string{dirs[0] + ":/usr/local/go", dirs[1] + ":/go", top + ":/src"}, nil
}
