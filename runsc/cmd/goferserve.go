package cmd

import (
	"os"

	"runsc/runsc/config"
	"runsc/runsc/fsgofer"
)

// serveTree serves 9P on one socket until the peer closes it.
func serveTree(sock *os.File, e exportedTree, procFD *os.File, conf *config.Config) error {
	return fsgofer.Serve(sock, fsgofer.Config{
		RootFD:   os.NewFile(uintptr(e.fd), e.what),
		ProcFD:   procFD,
		ReadOnly: e.readOnly,
		HostUDS:  fsgofer.HostUDS(conf.HostUDS),
	})
}

// installGoferFilter confines the process to what serving files takes.
func installGoferFilter(procFD *os.File, conf *config.Config) error {
	uds := fsgofer.HostUDS(conf.HostUDS)
	return fsgofer.InstallFilter(fsgofer.FilterOptions{
		ProcFD:  procFD,
		Connect: uds == fsgofer.UDSOpen || uds == fsgofer.UDSAll,
	})
}
