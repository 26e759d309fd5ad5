package cluster

import (
	"bytes"
	"encoding/binary"
)

// EncodeView writes a view. Equal views have equal encodings.
func EncodeView(v View) []byte {
	b := []byte{formatVersion}
	b = binary.AppendUvarint(b, v.Version)
	b = binary.AppendUvarint(b, uint64(v.Level))
	b = binary.AppendUvarint(b, uint64(len(v.Nodes)))
	for _, id := range v.NodeIDs() {
		b = appendNode(b, v.Nodes[id])
	}
	b = binary.AppendUvarint(b, uint64(len(v.Groups)))
	for _, id := range v.GroupIDs() {
		b = appendGroup(b, v.Groups[id])
	}
	return appendFormer(b, v.Former)
}

func appendFormer(b []byte, list []FormerOwner) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, f := range list {
		b = appendSlots(b, f.Slots)
		b = append(b, f.Group[:]...)
		b = binary.AppendUvarint(b, uint64(f.Epoch))
		b = append(b, f.Reign[:]...)
	}
	return b
}

func (r *reader) former() (list []FormerOwner) {
	for range r.count(1) {
		f := FormerOwner{Slots: r.slots(), Group: GroupID(r.id()), Epoch: Epoch(r.number()), Reign: ReignID(r.id())}
		if r.err != nil {
			return nil
		}
		list = append(list, f)
	}
	return list
}

// DecodeView reads what EncodeView wrote. The view has passed Check, and owns all that it holds. Errors match ErrFormat. What
// b announces is not trusted: allocations are bounded by its length.
func DecodeView(b []byte) (View, error) {
	r := reader{b: b}
	r.version()
	v := View{Version: r.number(), Level: r.level()}
	var lastNode NodeID
	for i := range r.count(1) {
		n := r.node()
		if i > 0 && n.ID <= lastNode {
			r.fail("nodes out of order")
		}
		if r.err != nil {
			return View{}, r.err
		}
		if v.Nodes == nil {
			v.Nodes = map[NodeID]NodeInfo{}
		}
		v.Nodes[n.ID], lastNode = n, n.ID
	}
	var lastGroup GroupID
	for i := range r.count(1) {
		g := r.group()
		if i > 0 && compareGroupIDs(g.ID, lastGroup) <= 0 {
			r.fail("groups out of order")
		}
		if r.err != nil {
			return View{}, r.err
		}
		if v.Groups == nil {
			v.Groups = map[GroupID]Group{}
		}
		v.Groups[g.ID], lastGroup = g, g.ID
	}
	v.Former = r.former()
	if err := r.end(); err != nil {
		return View{}, err
	}
	if err := v.Check(); err != nil {
		r.fail("%w", err)
		return View{}, r.err
	}
	return v, nil
}

func appendNode(b []byte, n NodeInfo) []byte {
	b = appendText(b, string(n.ID))
	b = appendText(b, n.Addr)
	b = binary.AppendUvarint(b, uint64(n.Incarnation))
	b = append(b, n.Store[:]...)
	return append(b, byte(n.Kind))
}

func (r *reader) node() NodeInfo {
	return NodeInfo{
		ID:          NodeID(r.text(MaxNodeID)),
		Addr:        r.text(MaxAddr),
		Incarnation: Incarnation(r.number()),
		Store:       StoreID(r.id()),
		Kind:        r.storeKind(),
	}
}

func (r *reader) storeKind() StoreKind {
	k := StoreKind(r.byte())
	if k > DiskStore {
		r.fail("kind of store %d", k)
	}
	return k
}

func appendGroup(b []byte, g Group) []byte {
	b = append(b, g.ID[:]...)
	b = appendText(b, g.Name)
	b = binary.AppendUvarint(b, g.Version)
	b = binary.AppendUvarint(b, uint64(g.Epoch))
	b = append(b, g.Reign[:]...)
	b = binary.AppendUvarint(b, uint64(g.First))
	b = appendMember(b, g.Primary)
	b = binary.AppendUvarint(b, uint64(g.Opener))
	b = binary.AppendUvarint(b, uint64(len(g.Members)))
	for _, m := range g.Members {
		b = appendMember(b, m.MemberID)
		b = append(b, byte(m.Kind))
		b = appendBool(b, m.InSync)
		b = appendBool(b, m.Joining)
		b = appendBool(b, m.Restarted)
		b = appendBool(b, m.Unsure)
		b = binary.AppendUvarint(b, m.Since)
		b = binary.AppendUvarint(b, uint64(m.Left))
	}
	b = appendSlots(b, g.Slots)
	b = append(b, byte(g.Transition.Kind))
	b = append(b, g.Transition.ID[:]...)
	return appendText(b, string(g.Transition.To))
}

func (r *reader) group() Group {
	g := Group{
		ID:      GroupID(r.id()),
		Name:    r.text(MaxName),
		Version: r.number(),
		Epoch:   Epoch(r.number()),
		Reign:   ReignID(r.id()),
		First:   LSN(r.number()),
		Primary: r.member(),
		Opener:  Incarnation(r.number()),
	}
	const smallest = 1 + len(StoreID{}) + 7
	for range r.count(smallest) {
		m := Member{MemberID: r.member(), Kind: r.storeKind(), InSync: r.bool(), Joining: r.bool(), Restarted: r.bool(), Unsure: r.bool(), Since: r.number(),
			Left: Incarnation(r.number())}
		if r.err != nil {
			return Group{}
		}
		g.Members = append(g.Members, m)
	}
	g.Slots = r.slots()
	g.Transition = Transition{Kind: TransitionKind(r.byte()), ID: TransitionID(r.id()), To: NodeID(r.text(MaxNodeID))}
	return g
}

// Equal reports whether two views are the same.
func (v View) Equal(w View) bool { return bytes.Equal(EncodeView(v), EncodeView(w)) }
