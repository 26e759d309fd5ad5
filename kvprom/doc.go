// Package kvprom shows what a node does as metrics for Prometheus:
//
//	prometheus.MustRegister(kvprom.New(node))
//
// It is a module of its own, so that only who wants Prometheus compiles it.
//
// A [Collector] keeps nothing. Each scrape takes one [kv.Node.Status] and shows that, so the figures of a scrape belong to one moment, and a
// scrape costs the same however many entries the node holds. There is nothing to close, and no goroutine: a node that is closed is shown
// as closed, for as long as its Collector is registered. Nodes of one process go into one registry; the label node tells them apart.
//
// # Names
//
// All names begin with hessonite_. Units are seconds, bytes and records, except for the per cent of a sync: that is one of the six figures that
// bear the names which Redis gives them in INFO, as [kv.Status.Info] does (hessonite_master_sync_in_progress, _total_bytes, _read_bytes, _left_bytes,
// _perc, _last_io_seconds_ago). Names, types and labels are part of the promise of the module's version, as those of functions are.
//
// # What is left out
//
// A figure that is not known, or means nothing at the moment, is left out: it is never shown as -1 or as a 0 that could be taken for
// one. So a primary has no hessonite_link_up, a replica no hessonite_replicas, and a sync whose extent is not known yet no
// hessonite_master_sync_total_bytes. [Definition.Only] says which these are. Flags and counters that always mean something are always there.
//
// # Labels
//
// Labels are node (the node's ID), state, phase, kind and outcome, which have a fixed set of values each, and replica: the IDs of the replicas,
// shown by their primary. The group is in hessonite_group_info only, with the value 1, and is joined where it is needed:
//
//	hessonite_can_write * on (job, instance, node) group_left (group, group_name) hessonite_group_info
//
// No label ever holds a key, a slot or an error.
//
// [Definitions] lists all metrics; docs/metrics.md is made from it. A dashboard and alert rules are in examples/monitoring.
package kvprom

//go:generate go run ./gen -o ../docs/metrics.md
