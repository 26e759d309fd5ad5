// Package check looks at every state that a small cluster can come to.
//
// It composes what is real and pure, replica.Next and cluster.View.Apply, with a model of what is around them: stores and staging
// stores of two records in two shards, links whose messages are delayed and outlive their attempts, a primary's sessions and
// in-sync set, a coordinator that decides commands late, twice or never, leases, the failover controller, nodes that lag behind
// the view, die and come back, and an operator. One node leads at first; the other two are alike, so that states which differ
// in their names only are visited once.
//
// In every state that the bounds of a [Config] allow:
//
//   - never two nodes may write, or answer linearizably, for the slot;
//   - nobody is recovering who leads or is unassigned;
//   - a record that was acknowledged, or seen by a linearizable reader, is on every member that can be promoted;
//   - the base of a node that follows is a prefix of its primary's log, and what the log's position says;
//   - a store that was sealed does not change until the transition is over;
//   - every view passes View.Check;
//   - if no fault and no order comes any more, there is a path to rest: nobody waits, the views are obeyed, every decided
//     promotion is carried out, and no transition is open that anybody alive could end. Who died needs not come back for that.
//
// Beyond the bounds, random walks over the same model hold each state against the same list.
//
// # What is left out
//
// Attempts have no numbers: what belongs to the present attempt of a machine is told from what does not by a mark. Nothing but
// equality is ever asked of an attempt, so that this loses nothing, and runs may have any number of attempts. Time is left out
// too: a deadline may pass at any moment, and of leases the model knows only that the holder's clock ends before the
// coordinator's. A node acts on a view as soon as it learns it, as the driver does; when it learns it is open. LSNs are those of two
// records; that each reign begins above the LSNs of the one before is taken as given.
//
// # Planted defects
//
// [Defects] turn single rules off. The tests plant each and expect the search to find it, with a shortest counterexample.
package check
