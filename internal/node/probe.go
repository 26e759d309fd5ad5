package node

import (
	"sync"
	"time"

	"github.com/hessonite/kv/cluster"
)

// prober keeps the probes of a link: a replica is as fresh as the moment at which it sent a probe, once it has applied the
// log's end that the answer named. Readers come faster than answers: each probe under way keeps its own time, and each answer its
// own end, so that a newer one never takes the place of one that is about to be good.
type prober struct {
	mu       sync.Mutex
	wanted   bool
	last     uint64
	sent     []probe       // not answered, in order
	answered []freshness   // in order of both fields
	reached  time.Duration // of the latest whose need was applied
	fit      bool          // there is one
}

type probe struct {
	n  uint64
	at time.Duration // by the node's clock, as all times here: it runs through a suspend
}

// freshness says that a base which has applied need is at least as new as the primary's was at asOf.
type freshness struct {
	asOf time.Duration
	need cluster.LSN
}

// maxProbes bounds both lists.
const maxProbes = 256

// want asks for a probe to be sent with the next acknowledgement.
func (p *prober) want() {
	p.mu.Lock()
	p.wanted = true
	p.mu.Unlock()
}

// asked reports whether there is a probe of that time or later, or one will be: to be sent, to be answered, or to be applied.
func (p *prober) asked(asOf time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wanted || len(p.sent) > 0 && p.sent[len(p.sent)-1].at >= asOf || len(p.answered) > 0 && p.answered[len(p.answered)-1].asOf >= asOf
}

// ask is the number of the probe to be sent now, or 0.
func (p *prober) ask(now time.Duration) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.wanted {
		return 0
	}
	p.wanted = false
	p.last++
	if len(p.sent) == maxProbes { // a primary without a lease answers none
		p.sent = append(p.sent[:0], p.sent[maxProbes/2:]...)
	}
	p.sent = append(p.sent, probe{p.last, now})
	return p.last
}

// echo takes an answer in; end is the log's end that it named. It reports whether the answer tells anything new.
func (p *prober) echo(n uint64, end cluster.LSN) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, pr := range p.sent {
		if pr.n != n {
			continue
		}
		p.sent = append(p.sent[:0], p.sent[i+1:]...)
		if len(p.answered) < maxProbes {
			p.answered = append(p.answered, freshness{pr.at, end})
		}
		return true
	}
	return false
}

// fresh is the moment at which the primary's state was what the base holds now, given what the base has applied.
func (p *prober) fresh(applied cluster.LSN) (time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	done := 0
	for done < len(p.answered) && p.answered[done].need <= applied {
		p.reached, p.fit = p.answered[done].asOf, true
		done++
	}
	p.answered = append(p.answered[:0], p.answered[done:]...)
	return p.reached, p.fit
}
