package main

import (
	"errors"

	"github.com/hessonite/kv"
)

const (
	maxPipeline      = 128      // commands that are carried out as one
	maxPipelineBytes = 64 << 10 // of them
)

// pipeline are SETs without options that a client has sent one behind the other without waiting for answers. They are carried out as one batch: one
// look at the node, one record of the log and one wait for all of them. Who gets an answer cannot tell, but that all of them are seen at once.
type pipeline struct {
	pairs [][2][]byte // where they have come: they stay there until the next receive
	size  int         // of keys and values
	batch kv.Batch
}

// plainSet reports whether a command is a SET without options.
func plainSet(args [][]byte) bool {
	return len(args) == 3 && len(args[0]) == 3 && args[0][0]|' ' == 's' && args[0][1]|' ' == 'e' && args[0][2]|' ' == 't'
}

// later takes a SET that others follow; false if it is to be carried out at once.
func (c *client) later(args [][]byte) bool {
	p := &c.pipeline
	if !c.known || !plainSet(args) || len(p.pairs) == 0 && c.requests.buffered() == 0 {
		return false
	}
	size := len(args[1]) + len(args[2])
	if size > maxPipelineBytes/4 {
		return false
	}
	if len(p.pairs) == maxPipeline || p.size+size > maxPipelineBytes {
		c.settle()
	}
	p.pairs = append(p.pairs, [2][]byte{args[1], args[2]})
	p.size += size
	return true
}

// settle carries out the SETs that wait, and answers them.
func (c *client) settle() {
	p := &c.pipeline
	if len(p.pairs) == 0 {
		return
	}
	c.timed(true, func() {
		if err := c.setAll(); err == nil || errors.Is(err, kv.ErrUnconfirmed) {
			for range p.pairs {
				c.setDone(err)
			}
			return
		}
		for _, kv := range p.pairs { // one of them cannot be: which it is they find out alone
			c.setDone(c.s.node.Set(c.ctx, kv[0], kv[1], c.writes...))
		}
	})
	c.noteVersion()
	p.pairs, p.size = p.pairs[:0], 0
}

func (c *client) setAll() error {
	p := &c.pipeline
	p.batch.Reset()
	for _, kv := range p.pairs {
		p.batch.Set(kv[0], kv[1])
	}
	_, err := c.s.node.Write(c.ctx, &p.batch, c.writes...)
	return err
}

func (c *client) setDone(err error) {
	if err != nil {
		c.failed(err)
		return
	}
	c.ok()
}
