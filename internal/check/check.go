package check

import (
	"fmt"
	"hash/maphash"
	"strings"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// Config bounds a check.
type Config struct {
	Name     string
	Start    Start
	Kinds    [numNodes]cluster.StoreKind
	Faults   int     // a run
	Orders   int     // operator's commands a run
	Epochs   int     // no failover begins in this one
	Records  int     // writes a run, at most 2
	InFlight int     // messages to a replica, at most 2; beside them there may be one from it. 0: each arrives as it is sent
	Reorder  bool    // messages outlive their attempt
	Stay     bool    // who died stays dead
	Only     []uint8 // kinds of faults and orders; nil: all
	Defects  Defects
	MaxState int // ends the search with an error; 0: 8 million
}

// Defects are planted to see whether the check finds them.
type Defects struct {
	Flag           bool                 // a recovering flag is kept beside the state, as in DESIGN section 1
	NoAttemptCheck bool                 // messages of older attempts are taken
	NoDeadline     replica.DeadlineKind // this deadline does not exist
	EarlySwitch    bool                 // a staging store is installed before it is one consistent prefix
	NoLeaseWait    bool                 // neither a promotion nor a new lease waits for the old lease
	NoSeal         bool                 // seals are given, and not obeyed
	AckStaging     bool                 // a staging store acknowledges
	SameEpoch      bool                 // a primary that restarted is granted a lease in the epoch of its former self
	NoUnion        bool                 // the primary waits only for the members that its view shows
}

// Start is where runs begin.
type Start uint8

const (
	// Empty: three nodes, no group.
	Empty Start = iota
	// Attaching: n0 leads, n1 is listed as a member that joins, n2 is unassigned.
	Attaching
	// Complete: n0 leads, n1 and n2 are in step and in sync.
	Complete
)

// Checker explores the states that a Config allows.
type Checker struct {
	cfg          Config
	views        *views
	steps        map[stepKey]*stepResult
	rules        func(replica.Machine, replica.Event) (replica.Machine, []replica.Action, error)
	seedA, seedB maphash.Seed
	faults       []string     // of the model itself, or of what it calls
	watch        func(*state) // told of each state, for tests
}

// String is the bounds in one line.
func (cfg Config) String() string {
	var kinds []string
	for _, k := range cfg.Only {
		kinds = append(kinds, strings.NewReplacer("FAULT ", "", "ORDER ", "").Replace(step{kind: k}.String()))
	}
	text := fmt.Sprintf("%d faults, %d orders, epochs up to %d, %d records, %d messages in flight, outliving attempts: %t, stores %v",
		cfg.Faults, cfg.Orders, cfg.Epochs, cfg.Records, cfg.InFlight, cfg.Reorder, cfg.Kinds)
	if kinds != nil {
		text += fmt.Sprintf(", only %q", kinds)
	}
	return text
}

// New is a checker for the configuration.
func New(cfg Config) *Checker {
	c := &Checker{cfg: cfg, views: newViews(), steps: map[stepKey]*stepResult{}, rules: replica.Next, seedA: maphash.MakeSeed(), seedB: maphash.MakeSeed()}
	if cfg.Defects.NoSeal {
		c.rules = func(m replica.Machine, ev replica.Event) (replica.Machine, []replica.Action, error) {
			if ev.Kind == replica.Sealed && !m.Group.IsZero() && m.Info().Role == replica.RoleReplica {
				return m, nil, nil
			}
			return replica.Next(m, ev)
		}
	}
	if c.cfg.MaxState == 0 {
		c.cfg.MaxState = 8_000_000
	}
	return c
}

// skip says whether the configuration leaves out a kind of fault or order.
func (cfg *Config) skip(kind uint8) bool {
	if len(cfg.Only) == 0 {
		return false
	}
	for _, k := range cfg.Only {
		if k == kind {
			return false
		}
	}
	return true
}

func (c *Checker) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

// start is the first state, made by the model's own steps.
func (c *Checker) start() (state, error) {
	s := state{view: c.views.intern(cluster.View{})}
	for i := range uint8(numNodes) {
		s.restart(i, cluster.DiskStore)
		s.nodes[i].store = 1
		c.announce(&s, i)
	}
	if c.cfg.Start != Empty {
		next, ok := c.views.apply(s.view, viewCommand{cmd: command{kind: 0xfc}}, cluster.OpenGroup{View: c.views.get(s.view).Version, Group: groups[1], Node: member(0, 1),
			Reign: reignID(0, 1), First: firstLSN(1), Slots: cluster.Slots(0, 0)})
		if !ok {
			return s, fmt.Errorf("open group refused")
		}
		s.view = next
		c.decide(&s, command{s.view, cmdAdd, 1})
		if c.cfg.Start == Complete {
			c.decide(&s, command{s.view, cmdAdd, 2})
		}
		for i := range uint8(numNodes) {
			s.nodes[i].history = map[bool]uint8{true: 1}[i == 0]
			c.learn(&s, i)
		}
		goal := func(s *state) bool { return s.nodes[0].state() == replica.Primary }
		if c.cfg.Start == Complete {
			goal = func(s *state) bool {
				return c.views.get(s.view).groups[1].inSync == 7 && s.nodes[0].view == s.view && s.nodes[1].view == s.view && s.nodes[2].view == s.view
			}
		}
		var err error
		if s, err = c.find(s, goal); err != nil {
			return s, err
		}
	}
	s.faults, s.orders = uint8(c.cfg.Faults), uint8(c.cfg.Orders)
	return s, nil
}

// find walks free steps, without writes, to the nearest state where the goal holds.
func (c *Checker) find(s state, goal func(*state) bool) (state, error) {
	records := c.cfg.Records
	c.cfg.Records = 0
	defer func() { c.cfg.Records = records }()
	seen := map[fingerprint]bool{}
	queue := []state{s}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		if goal(&s) {
			return s, nil
		}
		c.expand(&s, func(st step, t *state) {
			if st.kind == stDeadline || st.kind == stPatience || st.kind == stLeave {
				return // the way is shorter without
			}
			if f := c.fingerprint(t); !seen[f] {
				seen[f] = true
				queue = append(queue, *t)
			}
		})
	}
	return s, fmt.Errorf("%d states, and the start is not among them", len(seen))
}
