package main

import (
	"bytes"
	"context"
	"iter"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"

	"github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// ownSlots are those of the group that this node belongs to; all, if it stands alone.
func (s *server) ownSlots() cluster.SlotSet {
	if !s.cfg.clustered() {
		return cluster.AllSlots()
	}
	g, ok := s.node.View().GroupOf(cluster.NodeID(s.cfg.id))
	if !ok {
		return cluster.SlotSet{}
	}
	return g.Slots
}

// scanSlot yields the entries of a slot that this node holds, in the order of their keys: as primary what it serves, otherwise what it has.
func (s *server) scanSlot(ctx context.Context, slot cluster.Slot, after []byte, limit int) iter.Seq2[kv.Item, error] {
	opts := []kv.ScanOption{kv.InSlot(slot), kv.Limit(limit)}
	if len(after) > 0 {
		opts = append(opts, kv.After(after))
	}
	if s.cfg.clustered() {
		if s.node.Status().Role == replica.RoleReplica {
			opts = append(opts, kv.EarlierData())
		} else {
			opts = append(opts, kv.LocalOnly())
		}
	}
	return s.node.Scan(ctx, nil, opts...)
}

func cmdKeys(c *client, args [][]byte) {
	var keys [][]byte
	for slot := range c.s.ownSlots().All() {
		for it, err := range c.s.scanSlot(c.ctx, slot, nil, 0) {
			if err != nil {
				c.failed(err)
				return
			}
			if match(args[1], it.Key) {
				keys = append(keys, bytes.Clone(it.Key))
			}
		}
	}
	c.values(keys)
}

// cursors remember where scans are within a slot. Redis' cursors are numbers of 64 bits, a place within a slot is a key: the upper 16 bits of a
// cursor say the slot (plus one), the lower ones which of the last keys that are remembered it stands behind. A cursor that is forgotten goes back to the
// beginning of its slot: a scan may show a key twice then, as SCAN may, but leaves none out.
type cursors struct {
	mu   sync.Mutex
	next uint64
	keys map[uint64][]byte
}

const (
	keptCursors = 4096
	cursorBits  = 48
)

// keep gives a cursor for the place behind a key; without a key, for the beginning of the slot.
func (c *cursors) keep(slot cluster.Slot, key []byte) uint64 {
	at := (uint64(slot) + 1) << cursorBits
	if key == nil {
		return at
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == nil { // numbers of an earlier process mean nothing
		c.keys, c.next = map[uint64][]byte{}, rand.Uint64N(1<<cursorBits-1)
	}
	c.next = c.next%(1<<cursorBits-1) + 1
	c.keys[c.next] = bytes.Clone(key)
	delete(c.keys, (c.next+(1<<cursorBits-1)-keptCursors-1)%(1<<cursorBits-1)+1)
	return at | c.next
}

// place is what a cursor stands for; false if it is none.
func (c *cursors) place(cursor uint64) (cluster.Slot, []byte, bool) {
	if cursor == 0 {
		return 0, nil, true
	}
	slot := cursor>>cursorBits - 1
	if slot >= cluster.NumSlots {
		return 0, nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := c.keys[cursor&(1<<cursorBits-1)]
	if key != nil && cluster.KeySlot(key) != cluster.Slot(slot) {
		key = nil // no cursor that was given
	}
	return cluster.Slot(slot), key, true
}

// scanning is a SCAN with its options.
type scanning struct {
	pattern []byte
	count   int
	none    bool // of a type that no key has
}

func parseScan(args [][]byte) (o scanning, fault string) {
	o.count = 10
	for i := 0; i < len(args); i += 2 {
		if i+1 == len(args) {
			return o, syntaxError
		}
		switch v := args[i+1]; strings.ToLower(string(args[i][:min(len(args[i]), 8)])) {
		case "match":
			o.pattern = v
		case "count":
			n, err := parseInt(v)
			if err != nil {
				return o, notInteger
			}
			if n < 1 {
				return o, syntaxError
			}
			o.count = int(min(n, 1<<30))
		case "type":
			o.none = !strings.EqualFold(string(v), "string")
		default:
			return o, syntaxError
		}
	}
	return o, ""
}

// SCAN goes through the slots, and looks at COUNT entries a call.
func cmdScan(c *client, args [][]byte) {
	cursor, err := strconv.ParseUint(string(args[1]), 10, 64)
	slot, after, known := c.s.cursors.place(cursor)
	if err != nil || !known {
		c.fail("ERR invalid cursor")
		return
	}
	o, fault := parseScan(args[2:])
	if fault != "" {
		c.fail(fault)
		return
	}
	keys, next, err := c.s.scan(c.ctx, slot, after, o)
	if err != nil {
		c.failed(err)
		return
	}
	c.array(2)
	c.bulk(strconv.FormatUint(next, 10))
	c.values(keys)
}

// scan looks at so many entries, from a place on, and says where it stopped: 0 at the end.
func (s *server) scan(ctx context.Context, from cluster.Slot, after []byte, o scanning) (keys [][]byte, next uint64, err error) {
	seen := 0
	for slot := range s.ownSlots().All() {
		if slot < from {
			continue
		}
		if slot > from {
			after = nil
		}
		if seen >= o.count {
			return keys, s.cursors.keep(slot, nil), nil
		}
		for it, err := range s.scanSlot(ctx, slot, after, o.count-seen) {
			if err != nil {
				return nil, 0, err
			}
			seen++
			after = bytes.Clone(it.Key)
			if !o.none && (o.pattern == nil || match(o.pattern, after)) {
				keys = append(keys, after)
			}
		}
		if seen >= o.count {
			return keys, s.cursors.keep(slot, after), nil
		}
	}
	return keys, 0, nil
}
