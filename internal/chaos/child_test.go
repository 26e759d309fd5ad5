//go:build unix

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/cluster/consensus"
	"github.com/hessonite/kv/transport"
)

// childEnv tells a process of this test binary to be a node, and how.
const childEnv = "HESSONITE_CHAOS_NODE"

// childArg is all that a process is told.
type childArg struct {
	ID, Addr, Control, Dir string
	Peers                  []consensus.Peer
	Via                    map[cluster.NodeID]string // where the link to each peer begins: its proxy
}

const group = "chaos"

// through is a transport whose links to peers lead through proxies.
type through struct {
	transport.Transport
	via map[cluster.NodeID]string
}

func (t through) Dial(ctx context.Context, to transport.Peer, p transport.Protocol) (transport.Stream, error) {
	if addr, ok := t.via[to.ID]; ok {
		to.Addr = addr
	}
	return t.Transport.Dial(ctx, to, p)
}

// child is the process of a node.
type child struct {
	node   *kv.Node
	coord  *consensus.Coordinator
	closed chan struct{}
	once   sync.Once
}

func runChild(text string) {
	var a childArg
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		fail(err)
	}
	logFile, err := os.OpenFile(filepath.Join(a.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		fail(err)
	}
	log := hclog.New(&hclog.LoggerOptions{Output: logFile, Level: hclog.Debug})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	tcp, err := transport.ListenTCP(a.Addr, transport.TCPOptions{NodeID: cluster.NodeID(a.ID), ClusterID: group})
	if err != nil {
		fail(err)
	}
	t := through{tcp, a.Via}
	c, err := consensus.Open(ctx, consensus.Options{ID: a.ID, Dir: filepath.Join(a.Dir, "raft"), Transport: t, Peers: a.Peers, Logger: log})
	if err != nil {
		fail(err)
	}
	n, err := kv.Open(ctx, kv.Options{ID: a.ID, Dir: filepath.Join(a.Dir, "data"), Transport: t, Coordinator: c, Logger: log})
	if err != nil {
		fail(err)
	}
	h := &child{node: n, coord: c, closed: make(chan struct{})}
	s := rpc.NewServer()
	if err := s.RegisterName("Node", &service{h}); err != nil {
		fail(err)
	}
	l, err := net.Listen("tcp", a.Control)
	if err != nil {
		fail(err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.ServeConn(conn)
		}
	}()
	go func() { _ = n.Join(context.Background(), group) }()
	<-h.closed
	time.Sleep(50 * time.Millisecond) // for the answer
	if err := errors.Join(c.Close(), tcp.Close(), l.Close()); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// service is what the parent can ask of a process.
type service struct{ h *child }

// Op is one operation of a client.
type Op struct {
	Kind    string // get, set, delete, cas, swap, transfer
	Key     string
	Value   string
	Old     string
	Amount  int
	Timeout time.Duration
}

// Result is what came of it. Err is "" for done, "conflict", "absent", "unknown", or "failed": it has not happened.
type Result struct {
	Err, Text string
	Value     string
	Found     bool // of a swap: Value is what it found
}

func (r *Result) set(err error) {
	switch {
	case err == nil:
	case errors.Is(err, kv.ErrUnconfirmed):
		r.Err = "unknown"
	case errors.Is(err, kv.ErrConflict):
		r.Err = "conflict"
	case errors.Is(err, kv.ErrNotFound):
		r.Err = "absent"
	default:
		r.Err = "failed"
	}
	if err != nil {
		r.Text = err.Error()
	}
}

// Do carries an operation out.
func (s *service) Do(op Op, r *Result) error {
	ctx, cancel := context.WithTimeout(context.Background(), op.Timeout)
	defer cancel()
	n := s.h.node
	switch op.Kind {
	case "get":
		v, err := n.Get(ctx, []byte(op.Key), kv.Linearizable())
		r.Value = string(v)
		r.set(err)
	case "set":
		r.set(n.Set(ctx, []byte(op.Key), []byte(op.Value)))
	case "cas":
		r.set(n.CompareAndSet(ctx, []byte(op.Key), []byte(op.Old), []byte(op.Value)))
	case "delete":
		r.set(n.Delete(ctx, []byte(op.Key)))
	case "swap":
		r.set(swap(ctx, n, op, r))
	case "transfer":
		r.set(transfer(ctx, n, op))
	default:
		return fmt.Errorf("operation %q", op.Kind)
	}
	return nil
}

// swap replaces what it finds, if that is still there, and says what it was. A failed read has changed nothing, whatever it says.
func swap(ctx context.Context, n *kv.Node, op Op, r *Result) error {
	it, err := n.Lookup(ctx, []byte(op.Key), kv.Linearizable())
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return fmt.Errorf("read before the write: %v", err) //nolint:errorlint // its kind is of the read alone
	}
	r.Value, r.Found = string(it.Value), true
	return n.Set(ctx, []byte(op.Key), []byte(op.Value), kv.IfVersion(it.Version))
}

// transfer moves an amount from the account op.Old to op.Key, and leaves a mark under op.Value, all or nothing.
func transfer(ctx context.Context, n *kv.Node, op Op) error {
	from, err := n.Lookup(ctx, []byte(op.Old))
	if err != nil {
		return err
	}
	to, err := n.Lookup(ctx, []byte(op.Key))
	if err != nil {
		return err
	}
	var a, b int
	if _, err := fmt.Sscan(string(from.Value)+" "+string(to.Value), &a, &b); err != nil {
		return err
	}
	var batch kv.Batch
	batch.Require(from.Key, from.Version)
	batch.Require(to.Key, to.Version)
	batch.Set(from.Key, fmt.Append(nil, a-op.Amount))
	batch.Set(to.Key, fmt.Append(nil, b+op.Amount))
	batch.Set([]byte(op.Value), []byte("done"))
	_, err = n.Write(ctx, &batch)
	return err
}

// State is a part of a node's status.
type State struct {
	State    string
	CanWrite bool
	Epoch    uint64
	LSN      uint64
	InSync   int // of the primary: replicas in sync
	Members  int // of the group
	Leader   string
}

// State tells how the node is.
func (s *service) State(_ int, out *State) error {
	st := s.h.node.Status()
	*out = State{State: st.State.String(), CanWrite: st.CanWrite, Epoch: uint64(st.Epoch), LSN: uint64(st.LSN), Leader: s.h.coord.Status().Leader}
	for _, r := range st.Replicas {
		if r.InSync {
			out.InSync++
		}
	}
	if g, ok := s.h.node.View().GroupNamed(group); ok {
		out.Members = len(g.Members)
	}
	return nil
}

// Dump is everything that the node itself holds.
func (s *service) Dump(_ int, out *map[string]string) error {
	*out = map[string]string{}
	for it, err := range s.h.node.Scan(context.Background(), nil, kv.EarlierData()) {
		if err != nil {
			return err
		}
		(*out)[string(it.Key)] = it.Version.String() + " " + string(it.Value)
	}
	return nil
}

// Heir is who shall be primary; without a name, the best.
type Heir struct {
	ID      string
	Timeout time.Duration
}

// HandOver makes another the primary.
func (s *service) HandOver(to Heir, _ *int) error {
	ctx, cancel := context.WithTimeout(context.Background(), to.Timeout)
	defer cancel()
	return s.h.node.HandOver(ctx, to.ID)
}

// Shutdown ends the process as a handler of SIGTERM would.
func (s *service) Shutdown(timeout time.Duration, _ *int) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err := s.h.node.Shutdown(ctx)
	s.h.once.Do(func() { close(s.h.closed) })
	return err
}
