package kv

import (
	"sync"

	"github.com/hessonite/kv/internal/node"
)

// call is the memory of one write, kept between calls.
type call struct{ ops [1]node.Op }

var callPool = sync.Pool{New: func() any { return new(call) }}
