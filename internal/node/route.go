package node

import (
	"github.com/hessonite/kv/cluster"
)

// slotMap is a set of slots with a word a shard.
type slotMap [cluster.NumShards]uint64

func newSlotMap(s cluster.SlotSet) *slotMap {
	var m slotMap
	for first, last := range s.Ranges() {
		for slot := int(first); slot <= int(last); slot++ {
			m[slot/cluster.SlotsPerShard] |= 1 << (slot % cluster.SlotsPerShard)
		}
	}
	return &m
}

func (m *slotMap) has(s cluster.Slot) bool {
	return m[s/cluster.SlotsPerShard]&(1<<(s%cluster.SlotsPerShard)) != 0
}

// any reports whether some slot of the set is in the map.
func (m *slotMap) any(s cluster.SlotSet) bool {
	for slot := range s.All() {
		if m.has(slot) {
			return true
		}
	}
	return false
}

// routes says who serves which slot, as of one view.
type routes struct {
	version uint64
	owner   [cluster.NumSlots]uint16 // index into targets, one more; 0: nobody
	targets []target
}

type target struct {
	group cluster.GroupID
	node  cluster.NodeID
	addr  string
}

func newRoutes(v cluster.View) *routes {
	r := &routes{version: v.Version}
	for id, g := range v.Groups {
		if g.Slots.IsEmpty() {
			continue
		}
		r.targets = append(r.targets, target{group: id, node: g.Primary.Node, addr: v.Nodes[g.Primary.Node].Addr})
		n := uint16(len(r.targets))
		for first, last := range g.Slots.Ranges() {
			for s := int(first); s <= int(last); s++ {
				r.owner[s] = n
			}
		}
	}
	return r
}

// to is who serves a slot; false if the slot belongs to no group.
func (r *routes) to(s cluster.Slot) (target, bool) {
	if i := r.owner[s]; i > 0 {
		return r.targets[i-1], true
	}
	return target{}, false
}

// serving is what a node needs to know to serve a key at once: its reign and its slots. It is replaced as a whole, and is nil
// while the node does not serve.
type serving struct {
	reign *reign
	slots *slotMap
	write bool // false while writes are held
}
