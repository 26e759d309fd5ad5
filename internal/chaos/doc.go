// Package chaos runs a cluster of real processes, on real disks and sockets, and disturbs it: processes are killed with SIGKILL, and stopped with
// SIGSTOP for longer than a lease; the links between them, which lead through proxies, are cut, go silent in one direction, or
// become slow; and operators hand over and restart at bad moments. All the while clients work on every node, and note what they
// were answered.
//
// Three things are held against those notes. The histories of registers are linearizable (porcupine, with unknown outcomes kept as such). What
// was acknowledged is there in the end, what was refused is not, and transfers between accounts happened as a whole, once: the sum is kept. And no two processes
// say at a time that they serve.
//
// The processes are this package's own test binary. Everything that is drawn at random comes from one seed, which is printed; what the
// processes' schedulers make of it is not repeated by it. Where there is no SIGSTOP (Windows) there are no tests.
//
//	go test ./...                                    60 seconds of faults, a rolling restart
//	go test -run TestFaults -duration 10m -seed 7    longer, and with that seed
//	go test -run TestFailoverTime -failovers 50      how long a failover takes
package chaos
