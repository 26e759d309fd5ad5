package replica_test

import (
	"errors"
	"fmt"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// A node is told to follow, and its primary dies before it has a base. It is never left recovering.
func ExampleNext() {
	group := cluster.GroupID{0xaa}
	m := replica.Machine{} // Opening
	for _, ev := range []replica.Event{
		{Kind: replica.Opened},
		{Kind: replica.Follow, Group: group, Epoch: 1, View: 3},
		{Kind: replica.AnsweredStaged, Attempt: 1},
		{Kind: replica.LinkLost, Attempt: 1},
		{Kind: replica.PatienceOver, Attempt: 1, View: 4},
		{Kind: replica.Follow, Group: group, Epoch: 1, View: 4}, // the view that it gave up on
	} {
		next, actions, err := replica.Next(m, ev)
		if errors.Is(err, replica.ErrStaleEvent) {
			fmt.Println("stale:", ev)
			continue
		}
		m = next
		fmt.Println(m, actions, "recovering:", m.Info().Recovering)
	}
	// Output:
	// Unassigned [] recovering: false
	// Joining/Connecting attempt 1 group aa000000 epoch 1 [StartAttempt 1] recovering: true
	// Joining/Receiving attempt 1 group aa000000 epoch 1 [] recovering: true
	// Joining/Waiting attempt 1 group aa000000 epoch 1 [StopAttempt 1] recovering: true
	// Unassigned attempt 1 gave up on view 4 [DropStaging] recovering: false
	// stale: Follow group aa000000 epoch 1 view 4
}

// What a node may do is read off its state.
func ExampleState_Info() {
	for _, s := range []replica.State{replica.Primary, replica.Fenced, replica.Joining} {
		i := s.Info()
		fmt.Printf("%s: %s, reads %s, writes %s\n", s, i.Role, i.Reads, i.Writes)
	}
	// Output:
	// Primary: primary, reads all, writes all
	// Fenced: primary, reads stale, writes none
	// Joining: replica, reads local, writes none
}
