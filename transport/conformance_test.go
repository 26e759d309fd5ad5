package transport_test

import (
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
	"github.com/hessonite/kv/transport/transporttest"
)

func TestConformanceNetwork(t *testing.T) {
	transporttest.Run(t, func(testing.TB) transporttest.Open {
		n := transport.NewNetwork()
		return func(id cluster.NodeID) (transport.Transport, error) { return n.Node(id), nil }
	})
}

func TestConformanceTCP(t *testing.T) {
	transporttest.Run(t, func(testing.TB) transporttest.Open {
		return func(id cluster.NodeID) (transport.Transport, error) {
			return transport.ListenTCP("127.0.0.1:0", transport.TCPOptions{NodeID: id, ClusterID: "test"})
		}
	})
}
