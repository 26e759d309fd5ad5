// Package clustertest has what tests of coordinators, and with coordinators, need: Run, the suite that every
// cluster.Coordinator with leases must pass, and Flaky, a coordinator that can be made to fail.
//
// Run is open to coordinators from elsewhere:
//
//	func TestMine(t *testing.T) {
//		clustertest.Run(t, clustertest.Factory{
//			Open: func(t testing.TB, o cluster.Options) cluster.Coordinator { return mine.Open(o) },
//		})
//	}
package clustertest
