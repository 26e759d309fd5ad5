package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// store keeps Raft's log and its few lasting values in one bbolt file. Each call that changes something is one transaction and one flush.
//
// raft-boltdb, the usual choice, does not build with this version of Raft (v2.3.1) or drags retired modules in (v2.3.0). What Raft needs is little
// code on bbolt itself.
type store struct{ db *bbolt.DB }

var (
	bucketLog    = []byte("log")    // index, big endian → entry
	bucketStable = []byte("stable") // Raft's values, and ours
)

// lockPatience is how long to wait for another process to let go of the file.
const lockPatience = time.Second

func openStore(path string) (*store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockPatience, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%w: %s; stop the other process, or name another directory", ErrLocked, path)
	}
	if err != nil {
		return nil, fmt.Errorf("open the log %s: %w", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucketLog)
		if err == nil {
			_, err = tx.CreateBucketIfNotExists(bucketStable)
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare the log %s: %w", path, err), db.Close())
	}
	return &store{db}, nil
}

func (s *store) Close() error { return s.db.Close() }

var (
	_ raft.LogStore    = (*store)(nil)
	_ raft.StableStore = (*store)(nil)
)

func indexKey(i uint64) []byte { return binary.BigEndian.AppendUint64(nil, i) }

// edge is the first or the last index; 0 for an empty log.
func (s *store) edge(last bool) (index uint64, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketLog).Cursor()
		k, _ := c.First()
		if last {
			k, _ = c.Last()
		}
		if k != nil {
			index = binary.BigEndian.Uint64(k)
		}
		return nil
	})
	return index, err
}

// FirstIndex implements raft.LogStore.
func (s *store) FirstIndex() (uint64, error) { return s.edge(false) }

// LastIndex implements raft.LogStore.
func (s *store) LastIndex() (uint64, error) { return s.edge(true) }

// GetLog implements raft.LogStore.
func (s *store) GetLog(index uint64, l *raft.Log) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketLog).Get(indexKey(index))
		if v == nil {
			return raft.ErrLogNotFound
		}
		return decodeEntry(v, index, l)
	})
}

// StoreLog implements raft.LogStore.
func (s *store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (s *store) StoreLogs(logs []*raft.Log) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketLog)
		b.FillPercent = 0.9 // indexes rise
		for _, l := range logs {
			if err := b.Put(indexKey(l.Index), encodeEntry(l)); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteRange implements raft.LogStore.
func (s *store) DeleteRange(first, last uint64) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketLog).Cursor()
		for k, _ := c.Seek(indexKey(first)); k != nil && binary.BigEndian.Uint64(k) <= last; k, _ = c.Seek(indexKey(first)) {
			if err := c.Delete(); err != nil {
				return err
			}
		}
		return nil
	})
}

// Set implements raft.StableStore.
func (s *store) Set(key, val []byte) error {
	return s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketStable).Put(key, val) })
}

// Get implements raft.StableStore: an empty slice for a key that holds nothing.
func (s *store) Get(key []byte) (val []byte, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		val = append([]byte{}, tx.Bucket(bucketStable).Get(key)...)
		return nil
	})
	return val, err
}

// SetUint64 implements raft.StableStore.
func (s *store) SetUint64(key []byte, val uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, val))
}

// GetUint64 implements raft.StableStore: 0 for a key that holds nothing.
func (s *store) GetUint64(key []byte) (uint64, error) {
	v, err := s.Get(key)
	if err != nil || len(v) == 0 {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("%w: %q holds %d bytes instead of a number", ErrDamaged, key, len(v))
	}
	return binary.BigEndian.Uint64(v), nil
}

// entryFormat is the version of an entry's encoding: type, term, time, extensions, data.
const entryFormat = 1

func encodeEntry(l *raft.Log) []byte {
	b := make([]byte, 0, len(l.Data)+len(l.Extensions)+32)
	b = append(b, entryFormat, byte(l.Type))
	b = binary.AppendUvarint(b, l.Term)
	at := int64(0)
	if !l.AppendedAt.IsZero() {
		at = l.AppendedAt.UnixNano()
	}
	b = binary.AppendVarint(b, at)
	b = binary.AppendUvarint(b, uint64(len(l.Extensions)))
	b = append(b, l.Extensions...)
	return append(b, l.Data...)
}

func decodeEntry(b []byte, index uint64, l *raft.Log) error {
	bad := func() error { return fmt.Errorf("%w: entry %d of the log does not decode", ErrDamaged, index) }
	if len(b) < 2 || b[0] != entryFormat {
		return bad()
	}
	*l = raft.Log{Index: index, Type: raft.LogType(b[1])}
	b = b[2:]
	var n int
	if l.Term, n = binary.Uvarint(b); n <= 0 {
		return bad()
	}
	b = b[n:]
	at, n := binary.Varint(b)
	if n <= 0 {
		return bad()
	}
	if at != 0 {
		l.AppendedAt = time.Unix(0, at)
	}
	b = b[n:]
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return bad()
	}
	b = b[n:]
	if size > 0 {
		l.Extensions = append([]byte(nil), b[:size]...)
	}
	if len(b) > int(size) {
		l.Data = append([]byte(nil), b[size:]...)
	}
	return nil
}
