package storage

import "github.com/hessonite/kv/internal/record"

// Foreseer is implemented by engines that apply records faster if they are told of some of them beforehand.
type Foreseer interface {
	Engine

	// Foresee says which records are about to be applied, in one entry or in several. It changes nothing. The caller holds the locks of all
	// shards concerned, and goes on holding them: whatever else it applies meanwhile makes the engine slower, not wrong.
	Foresee(recs []record.Record)
}
