// Package sim runs whole clusters in virtual time and disturbs them, a seed a run.
//
// A run is three nodes as they are (package kv, its engines, its coordinators) on an in-process network, in a bubble
// of testing/synctest: a minute of their life takes a tenth of a second. From the seed comes a plan: whether voters
// on Raft decide the views or one coordinator in the process, whether the nodes keep their data on disk, how long
// leases are and how small the log, how far clocks run apart; and a list of faults.
//
// # What happens to them
//
// Links are cut, partitioned (also one way), hung, stalled, slowed down, broken at random; a block is corrupted on
// its way. Ways to the coordinator are cut, the quorum is lost, answers are lost or come late, commands are decided
// twice, or long after their proposer has given up. Nodes are killed (in memory they come back empty, on disk with
// what the directory held at that moment), stopped for longer than a lease, as SIGSTOP would (gate), their clocks
// run at other rates or jump, their wall clocks are set; their stores fail, or are full. Steps of a sync fail or
// take long. And operators give commands at bad moments: attach, detach, fail over, hand over, reset, forget, assign
// and release slots, back up and restore, add and remove voters.
//
// All the while clients write and read: registers, with conditions and with an expiry; batches that move money; keys
// written once, and the watch that follows them from node to node; pairs of keys, one after the other; what they
// wrote themselves, through another node; what is at most so old; and keys that are set and deleted once.
//
// In one plan of ten, acknowledged writes may be lost: there the nemesis kills without looking, and operators
// promote by force. In all others it destroys a store only while another member holds everything.
//
// # What must hold
//
// At every moment: no two nodes answer for one slot, nobody is recovering but who joins, progress goes forward and
// ends at 100, nobody is past a deadline, logs are as long as they may be. To clients: registers are linearizable
// (porcupine, with writes of unknown outcome kept as such), nothing acknowledged is lost, what was refused did not
// happen, batches are whole, no two writes have one version and a later write has a later one, replicas show
// prefixes and nothing older than was asked for, a backup is one prefix, a watch shows each change once and in
// order. When the faults have ended: within a minute all nodes are at rest with the help of a patient operator,
// replicas equal their primary byte for byte, and when everything is closed no goroutine is left.
//
// # Using it
//
//	go test ./internal/sim                                  200 seeds
//	go test ./internal/sim -run Seeds -seeds 20000          more
//	go test ./internal/sim -run Seeds -seed 17 -count 20    one of them
//	go test ./internal/sim -run Shrink -v -seed 17          the faults of that seed which it takes to fail
//	go test ./internal/sim -run Defects -defects -v         planted defects, and the seeds that it takes to find each
//
// What a seed fixes is the plan and what everybody draws; how the goroutines of a bubble take turns it does not. So
// a seed that failed is run again some times.
package sim
