package container

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"runsc/pkg/log"
)

// runHooks runs the hooks of one stage in order, up to the first that fails.
func (c *Container) runHooks(stage string, hooks []specs.Hook, status specs.ContainerState) error {
	if len(hooks) == 0 {
		return nil
	}
	state := c.OCIState()
	state.Status = status
	data, err := json.Marshal(state)
	if err != nil {
		return err
	}
	for i := range hooks {
		if err := runHook(&hooks[i], data); err != nil {
			return fmt.Errorf("%s hook %d (%s): %w", stage, i, hooks[i].Path, err)
		}
	}
	return nil
}

// runHook runs one hook with the container's state on its stdin. What the hook prints is
// kept for the error message only.
func runHook(h *specs.Hook, state []byte) error {
	ctx := context.Background()
	if h.Timeout != nil {
		if *h.Timeout <= 0 {
			return fmt.Errorf("timeout %d is not positive", *h.Timeout)
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*h.Timeout)*time.Second)
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, h.Path)
	if len(h.Args) > 0 {
		cmd.Args = h.Args
	}
	cmd.Env = h.Env
	if cmd.Env == nil {
		cmd.Env = []string{} // nil would mean our own
	}
	cmd.Stdin = bytes.NewReader(state)
	var out tail
	cmd.Stdout, cmd.Stderr = &out, &out
	// A hook that leaves a daemon behind, which holds the pipes, is not waited for.
	cmd.WaitDelay = time.Second
	start := time.Now()
	err := cmd.Run()
	log.Debugf("hook %s took %v: %v", h.Path, time.Since(start), err)
	switch {
	case err == nil || err == exec.ErrWaitDelay:
		return nil
	case ctx.Err() == context.DeadlineExceeded:
		return fmt.Errorf("no end after %d seconds", *h.Timeout)
	}
	if said := strings.TrimSpace(string(out)); said != "" {
		return fmt.Errorf("%w: %s", err, said)
	}
	return err
}

// tail keeps the last bytes written to it.
type tail []byte

func (t *tail) Write(p []byte) (int, error) {
	const keep = 2048
	*t = append(*t, p...)
	if len(*t) > keep {
		*t = append((*t)[:0], (*t)[len(*t)-keep:]...)
	}
	return len(p), nil
}
