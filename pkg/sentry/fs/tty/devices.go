package tty

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/vfs"
)

// CurrentDevice opens /dev/tty: the caller's controlling terminal.
type CurrentDevice struct{ Jobs Jobs }

// OpenDevice implements vfs.DeviceOpener. ENXIO: the caller has no controlling terminal.
func (d CurrentDevice) OpenDevice(ctx context.Context, _ vfs.Path, _ uint64, flags uint32) (vfs.File, error) {
	t := d.Jobs.Controlling(ctx)
	if t == nil {
		return nil, unix.ENXIO
	}
	f, err := t.Open(ctx, flags|unix.O_NOCTTY)
	if err != nil {
		if err == unix.EIO {
			err = unix.ENXIO
		}
		return nil, err
	}
	return f, nil
}

// ConsoleDevice opens /dev/console: the terminal that a container was started with.
type ConsoleDevice struct{ Terminal *Terminal }

// OpenDevice implements vfs.DeviceOpener. ENODEV: the container has no console.
func (d ConsoleDevice) OpenDevice(ctx context.Context, _ vfs.Path, _ uint64, flags uint32) (vfs.File, error) {
	if d.Terminal == nil {
		return nil, unix.ENODEV
	}
	f, err := d.Terminal.Open(ctx, flags|unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	return f, nil
}
