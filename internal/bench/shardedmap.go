package main

import (
	"sync"

	"github.com/hessonite/kv/cluster"
)

// shardedMap is what one would write instead of a store in memory: maps under locks, as many as a node has shards, and split in the same
// way, so that the cost of finding the shard is in both. It keeps copies and returns copies, as a store does.
type shardedMap struct {
	shards [cluster.NumShards]mapShard
}

type mapShard struct {
	mu sync.RWMutex
	m  map[string][]byte
}

func newShardedMap() *shardedMap {
	m := &shardedMap{}
	for i := range m.shards {
		m.shards[i].m = map[string][]byte{}
	}
	return m
}

func (m *shardedMap) shard(k []byte) *mapShard { return &m.shards[cluster.KeySlot(k).Shard()] }

// Set keeps a copy of the value. A former value of the same key may be with a reader, so its bytes are not written over.
func (m *shardedMap) Set(k, v []byte) {
	s, v := m.shard(k), append(make([]byte, 0, len(v)), v...)
	s.mu.Lock()
	s.m[string(k)] = v
	s.mu.Unlock()
}

// Get returns a copy of the value, nil if there is none.
func (m *shardedMap) Get(k []byte) []byte {
	v, ok := m.GetInto(nil, k)
	if !ok {
		return nil
	}
	return v
}

// GetInto appends the value to dst.
func (m *shardedMap) GetInto(dst, k []byte) ([]byte, bool) {
	s := m.shard(k)
	s.mu.RLock()
	v, ok := s.m[string(k)]
	s.mu.RUnlock()
	return append(dst, v...), ok
}
