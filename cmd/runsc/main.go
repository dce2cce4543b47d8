// No descriptors of the host's cgroup files in any of our processes, and no rereading of
// them: who starts us says how many processors to use.
//
//go:debug updatemaxprocs=0
//go:debug containermaxprocs=0

// Runsc runs OCI containers on a kernel of its own; see package cmd.
package main

import "runsc/runsc/cmd"

func main() {
	cmd.Main(
		cmd.Group{Name: "", Commands: []cmd.Command{
			new(cmd.Create),
			new(cmd.Debug),
			new(cmd.Delete),
			new(cmd.Do),
			new(cmd.Events),
			new(cmd.Exec),
			new(cmd.Features),
			new(cmd.Install),
			new(cmd.Kill),
			new(cmd.List),
			new(cmd.Pause),
			new(cmd.PS),
			new(cmd.Resume),
			new(cmd.Run),
			new(cmd.Spec),
			new(cmd.Start),
			new(cmd.State),
			new(cmd.Sockopts),
			new(cmd.Syscalls),
			new(cmd.Uninstall),
			new(cmd.Update),
			new(cmd.Wait),
		}},
		cmd.Group{Name: "internal use", Commands: []cmd.Command{
			new(cmd.Boot),
			new(cmd.DoNetwork),
			new(cmd.Gofer),
			new(cmd.Guard),
		}},
	)
}
