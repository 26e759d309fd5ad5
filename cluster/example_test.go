package cluster_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/hessonite/kv/cluster"
)

// Keys with the same tag share a slot.
func ExampleKeySlot() {
	fmt.Println(cluster.KeySlot([]byte("foo")))
	fmt.Println(cluster.KeySlot([]byte("{user1000}.following")) == cluster.KeySlot([]byte("{user1000}.followers")))
	// Output:
	// 12182
	// true
}

func ExampleSlotSet() {
	half := cluster.Slots(0, 8191).Minus(cluster.Slots(100, 199))
	fmt.Println(half, half.Len(), half.Has(150))
	set, err := cluster.ParseSlotSet("0-5460,7000")
	fmt.Println(set.Intersect(half).Len(), err)
	// Output:
	// 0-99,200-8191 8092 false
	// 5362 <nil>
}

// Two stores were one until LSN 9. Then one of them was promoted, the other went on for a while without knowing.
func ExampleHistory_Common() {
	old := cluster.History{Group: cluster.NewGroupID()}
	old, _ = old.Append(cluster.Reign{Epoch: 1, ID: cluster.NewReignID(), First: 1})
	promoted, _ := old.Append(cluster.Reign{Epoch: 2, ID: cluster.NewReignID(), First: 10})
	fmt.Println(promoted.Common(old, 25, 12))
	// Output: 9
}

// A command that was decided on an older view is refused: look again, decide again.
func ExampleView_Apply() {
	var v cluster.View
	apply := func(c cluster.Command) {
		next, err := v.Apply(c)
		if err != nil {
			fmt.Println(errors.Is(err, cluster.ErrStaleCommand))
			return
		}
		v = next
	}
	node := cluster.NodeInfo{ID: "n1", Incarnation: cluster.NewIncarnation(), Store: cluster.NewStoreID()}
	group := cluster.NewGroupID()
	apply(cluster.Announce{Node: node})
	apply(cluster.OpenGroup{View: v.Version, Group: group, Node: node.MemberID(), Reign: cluster.NewReignID(), First: 1, Slots: cluster.Slots(0, 99)})
	on := v.Groups[group].On()
	apply(cluster.AddSlots{On: on, Slots: cluster.Slots(100, 199)})
	apply(cluster.AddSlots{On: on, Slots: cluster.Slots(200, 299)})
	fmt.Println(v.Version, v.Groups[group].Slots)
	// Output:
	// true
	// 3 0-199
}

// A coordinator in the process: who watches sees the present view first.
func ExampleNewMemory() {
	ctx := context.Background()
	c := cluster.NewMemory(cluster.WithAutoFailover(true))
	defer c.Close()
	node := cluster.NodeInfo{ID: "n1", Incarnation: cluster.NewIncarnation(), Store: cluster.NewStoreID()}
	if _, err := c.Propose(ctx, cluster.Announce{Node: node}); err != nil {
		fmt.Println(err)
		return
	}
	for v := range c.Watch(ctx) {
		fmt.Println(v.Version, v.NodeIDs())
		break
	}
	// Output: 1 [n1]
}
