package transport

// Clustered is implemented by transports that know which cluster they are of. A node on disk keeps the name in its directory, and is not
// opened as a member of another one. The transports of this package implement it.
type Clustered interface {
	// ClusterID is the name of the cluster; "" if it has none.
	ClusterID() string
}

// ClusterID implements Clustered.
func (t *tcpTransport) ClusterID() string { return t.o.ClusterID }

// ClusterID implements Clustered.
func (nd *memNode) ClusterID() string { return nd.opts.ClusterID }

var (
	_ Clustered = (*tcpTransport)(nil)
	_ Clustered = (*memNode)(nil)
)
