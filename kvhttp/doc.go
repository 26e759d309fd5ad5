// Package kvhttp shows a node to people and to probes, over HTTP: a status page, the same as JSON, and health checks.
//
//	mux.Handle("/debug/kv/", http.StripPrefix("/debug/kv", kvhttp.Status(node)))
//	mux.Handle("/livez", kvhttp.Health(node))
//	mux.Handle("/readyz", kvhttp.Health(node))
//
// [Status] is the page. Its first sentence says what the node is doing, the next whether that is all right, whether it passes by itself, and what to
// do. Below it are the machine's states with the present one lit, drawn from the table of package replica; the last transitions with
// their causes; the progress of the sync; the link, the replicas with their lag, the slots, and the cluster's view. The page is one file without
// outside assets. It refreshes in place, or as a whole where there is no JavaScript, and says so when the node does not answer any more. Beside it is
// status.json, a [Report].
//
// [Health] answers two probes. livez says whether the process is of any use; readyz whether a request that is sent to this node now will
// be answered, by itself or by forwarding. Both have a [HealthReport] as their body.
//
// Both handlers only read: they answer GET and HEAD, and 405 to anything else. They show no keys and no values, but IDs and addresses of nodes, and the
// texts of errors, which may name paths: serve them to operators, not to the world. They can be mounted below any prefix, since only the last part of a
// path counts and all links are relative.
//
// A handler has no goroutine of its own but the one of Node.Observe, which Node.Close ends. It can be asked before the node is ready, and
// after it is closed.
package kvhttp
