package kv

import (
	"sync"

	"github.com/hessonite/kv/internal/node"
)

// call is the memory of one write, kept between calls.
type call struct {
	ops    [1]node.Op
	config writeConfig
}

var callPool = sync.Pool{New: func() any { return new(call) }}

// recycle keeps the memory, and nothing of the call.
func (c *call) recycle() {
	*c = call{}
	callPool.Put(c)
}
