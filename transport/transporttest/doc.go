// Package transporttest is the conformance suite for transports: what package transport promises, as tests. Run it from a
// test of your own transport:
//
//	func TestConformance(t *testing.T) {
//		transporttest.Run(t, func(t testing.TB) transporttest.Open {
//			network := mynet.New()
//			return func(id cluster.NodeID) (transport.Transport, error) { return network.Listen(id) }
//		})
//	}
//
// Beyond the words of the interfaces the suite asks that each direction of a stream holds some small frames (16 of them, or 64
// KiB) before Send blocks: two ends that both send before they receive must not lock each other out.
//
// A transport that passes can carry replication. What the suite cannot see stays with its author: that it bounds the memory
// that a hostile peer can claim, that it notices a peer that has gone silent, and that it verifies who the peer is.
package transporttest
