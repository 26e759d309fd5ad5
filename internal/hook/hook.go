package hook

import (
	"github.com/hessonite/kv/internal/clock"
	"github.com/hessonite/kv/internal/node"
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/internal/storage/badger"
)

// Set is what a test changes within a node. The zero Set changes nothing.
type Set struct {
	Node node.Hooks
	Disk badger.Hooks
	// Clock is the clock that the node counts its leases with.
	Clock clock.Clock
	// Engine wraps the node's engine. What it returns must implement storage.Durable if what it was given does.
	Engine func(storage.Engine) storage.Engine
}

// Carrier is a transport.Transport that brings a Set with it to the node that it is given to.
type Carrier interface{ Hooks() Set }
