package cluster

// NumSlots is the number of hash slots: 0…16383, as in Redis Cluster.
const NumSlots = 16384

// SlotsPerShard neighbouring slots make a shard.
const SlotsPerShard = 64

// NumShards is the number of shards, the same in every node.
const NumShards = NumSlots / SlotsPerShard

// Slot is a hash slot, 0…16383.
type Slot uint16

// Shard is a run of SlotsPerShard neighbouring slots: the unit of locking, of staging and of a checkpoint stream.
type Shard uint8

// Shard is the shard that the slot lies in.
func (s Slot) Shard() Shard { return Shard(s / SlotsPerShard) }
