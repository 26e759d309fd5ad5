package main

import (
	"fmt"
	"strings"

	"github.com/hessonite/kv/kvprom"
)

const intro = `<!-- Generated from package kvprom by go generate. Do not edit. -->

# Metrics

Package [kvprom](../kvprom/doc.go), a module of its own (` + "`go get github.com/hessonite/kv/kvprom`" + `), shows a node to Prometheus:

` + "```go" + `
registry := prometheus.NewRegistry()
registry.MustRegister(kvprom.New(n))
metrics := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
` + "```" + `

The last is an http.Handler, for the path /metrics. All that a scrape shows is of one moment, and a scrape costs the same however many keys there are.
After Close the node is shown as closed. Nodes of one process go into one registry.

Every metric has the label **node**, the node's ID. A metric that has something under "only" is left out otherwise: nothing is ever shown as -1,
or as a 0 that means "not known". The group is in ` + "`hessonite_group_info`" + ` and is joined where it is needed:

` + "```" + `
hessonite_can_write * on (job, instance, node) group_left (group, group_name) hessonite_group_info
` + "```" + `

The six that begin with ` + "`hessonite_master_sync_`" + ` are what Redis' INFO and ` + "`Status.Info()`" + ` show under ` + "`master_sync_`" + `. What the states mean is in [states.md](states.md), what to do about them in [operations.md](operations.md#when-something-is-wrong). A
dashboard, and alerts that say what to do, are in [examples/monitoring](../examples/monitoring/README.md).

Names, types and labels are part of what a version promises; one that changes is in the CHANGELOG.
`

// page is the whole page.
func page() string {
	var b strings.Builder
	b.WriteString(intro)
	topic := ""
	for _, d := range kvprom.Definitions() {
		if d.Topic != topic {
			topic = d.Topic
			fmt.Fprintf(&b, "\n## %s\n\n| Metric | Type | Labels | What it is | Only |\n|---|---|---|---|---|\n", topic)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", d.Name, d.Type, strings.Join(d.Labels, ", "), strings.TrimSuffix(d.Help, "."), d.Only)
	}
	return b.String()
}
