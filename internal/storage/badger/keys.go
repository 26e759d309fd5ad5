package badger

import (
	"encoding/binary"
	"fmt"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// A key of data is the slot, big endian, then the key. The top bit of the slot is set: without it, a key of slot 0x2162 that begins
// with "adger!" would look like one of Badger's own ("!badger!…"), which Badger refuses. Keys that begin with 0xff are the engine's.
const (
	slotSize = 2
	slotBit  = 0x8000
)

// Flags of an entry, in Badger's user meta byte.
const (
	flagTombstone = 1 << iota
	flagExpires
	flagLong // the value lies in the value log
)

// valueThreshold is the size from which on values, their header included, lie in the value log.
const valueThreshold = 4 << 10

const (
	lsnSize    = 8
	expirySize = 8
)

// dataKey is the key under which an entry lies.
func dataKey(dst []byte, slot cluster.Slot, key []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(slot)|slotBit)
	return append(dst, key...)
}

// slotOf is the slot of a key of data.
func slotOf(key []byte) cluster.Slot {
	return cluster.Slot(binary.BigEndian.Uint16(key) &^ slotBit)
}

// change is what a record does to one key, as it will lie in the database.
type change struct {
	lsn       cluster.LSN
	expiresAt int64
	key       []byte // with the slot
	value     []byte // with the header
	size      int    // of the encoded record
	meta      byte
	prev      entryState // what it replaces, if that is known
}

// headerOf is the length of the header in front of a value.
func headerOf(meta byte) int {
	if meta&flagExpires != 0 {
		return lsnSize + expirySize
	}
	return lsnSize
}

// newChange encodes a record. It copies key and value.
func newChange(lsn cluster.LSN, r *record.Record) change {
	c := change{lsn: lsn, expiresAt: r.ExpiresAt, size: r.Size()}
	if r.Tombstone {
		c.meta = flagTombstone
	}
	if r.ExpiresAt != 0 {
		c.meta |= flagExpires
	}
	klen := slotSize + len(r.Key)
	vlen := headerOf(c.meta) + len(r.Value)
	if vlen >= valueThreshold {
		c.meta |= flagLong
	}
	buf := make([]byte, 0, klen+vlen)
	buf = dataKey(buf, r.Slot, r.Key)
	c.key = buf[:klen:klen]
	buf = binary.LittleEndian.AppendUint64(buf, uint64(lsn))
	if r.ExpiresAt != 0 {
		buf = binary.LittleEndian.AppendUint64(buf, uint64(r.ExpiresAt))
	}
	buf = append(buf, r.Value...)
	c.value = buf[klen:]
	return c
}

// entry is what the change makes of its key. Its parts are the change's.
func (c *change) entry() storage.Entry {
	e := storage.Entry{Key: c.key[slotSize:], LSN: c.lsn, ExpiresAt: c.expiresAt, Tombstone: c.meta&flagTombstone != 0}
	if !e.Tombstone {
		e.Value = c.value[headerOf(c.meta):]
	}
	return e
}

// state is what the change makes of its key, without the value.
func (c *change) state() entryState {
	s := entryState{kind: kindEntry, lsn: c.lsn, expiresAt: c.expiresAt, size: c.size}
	if c.meta&flagTombstone != 0 {
		s.kind = kindTombstone
	}
	return s
}

// entryState is what the engine has to know of the entry that a change replaces.
type entryState struct {
	kind      entryKind
	lsn       cluster.LSN
	expiresAt int64
	size      int // of the encoded record
}

type entryKind uint8

const (
	kindUnknown entryKind = iota // has to be looked up
	kindNone
	kindEntry
	kindTombstone
)

// decodeHeader reads the header in front of a value.
func decodeHeader(meta byte, value []byte) (lsn cluster.LSN, expiresAt int64, body []byte, err error) {
	n := headerOf(meta)
	if len(value) < n {
		return 0, 0, nil, fmt.Errorf("%w: a value of %d bytes, its header alone has %d; remove the directory and let the node sync anew", storage.ErrDamaged, len(value), n)
	}
	lsn = cluster.LSN(binary.LittleEndian.Uint64(value))
	if meta&flagExpires != 0 {
		expiresAt = int64(binary.LittleEndian.Uint64(value[lsnSize:]))
	}
	return lsn, expiresAt, value[n:], nil
}

// recordSize is the size of the encoded record of an entry with such a key (with its slot) and a value of so many bytes.
func recordSize(meta byte, key, body int) int {
	n := record.HeaderSize + key - slotSize + body
	if meta&flagExpires != 0 {
		n += record.ExpirySize
	}
	return n
}

// shardPrefix is a prefix of all keys of a shard, and of three other shards' keys; first and end bound the shard's own.
func shardPrefix(s cluster.Shard) []byte { return []byte{byte(slotBit>>8) | byte(s>>2)} }

func shardFirst(s cluster.Shard) []byte {
	return binary.BigEndian.AppendUint16(nil, uint16(s)*cluster.SlotsPerShard|slotBit)
}

// inShard reports whether a key of data lies in the shard.
func inShard(key []byte, s cluster.Shard) bool {
	return len(key) > slotSize && key[0]&(slotBit>>8) != 0 && slotOf(key).Shard() == s
}
