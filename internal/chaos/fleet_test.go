//go:build unix

package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/cluster/consensus"
)

// fleet is a cluster of processes.
type fleet struct {
	t     testing.TB
	procs []*proc
	links map[[2]int]*proxy // by who dials whom
}

// proc is one process, over all its lives.
type proc struct {
	arg childArg

	mu      sync.Mutex
	cmd     *exec.Cmd
	client  *rpc.Client
	stopped bool // by SIGSTOP
	exited  chan struct{}
}

var errDown = errors.New("the process is down")

func newFleet(t testing.TB, n int) *fleet {
	t.Helper()
	f := &fleet{t: t, links: map[[2]int]*proxy{}}
	dir := t.TempDir()
	addrs := freeAddrs(t, 2*n)
	var peers []consensus.Peer
	for i := range n {
		peers = append(peers, consensus.Peer{ID: fmt.Sprint("n", i+1), Addr: addrs[i]})
	}
	t.Cleanup(f.close)
	for i, p := range peers {
		a := childArg{ID: p.ID, Addr: p.Addr, Control: addrs[n+i], Dir: filepath.Join(dir, p.ID), Peers: peers, Via: map[cluster.NodeID]string{}}
		must(t, os.MkdirAll(a.Dir, 0o700))
		for j, q := range peers {
			if i == j {
				continue
			}
			l, err := newProxy(q.Addr)
			must(t, err)
			f.links[[2]int{i, j}] = l
			a.Via[cluster.NodeID(q.ID)] = l.l.Addr().String()
		}
		f.procs = append(f.procs, &proc{arg: a})
	}
	for _, p := range f.procs {
		must(t, p.start())
	}
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// freeAddrs are addresses that nobody listens on at the moment, and that the system gives to nobody who does not ask for them by number: the
// process of one may be away for a while.
func freeAddrs(t testing.TB, n int) (out []string) {
	t.Helper()
	for port := 10_000 + rand.IntN(15_000); len(out) < n; port++ {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			continue
		}
		defer l.Close()
		out = append(out, l.Addr().String())
	}
	return out
}

// start begins a life of the process, and waits until it can be asked.
func (p *proc) start() error {
	arg, err := json.Marshal(p.arg)
	if err != nil {
		return err
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(arg))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	p.mu.Lock()
	p.cmd, p.exited, p.stopped = cmd, exited, false
	p.mu.Unlock()
	deadline := time.After(time.Minute)
	for {
		c, err := rpc.Dial("tcp", p.arg.Control)
		if err == nil {
			p.mu.Lock()
			p.client = c
			p.mu.Unlock()
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-exited:
			return fmt.Errorf("%s ended while it was started", p.arg.ID)
		case <-deadline:
			return fmt.Errorf("%s cannot be asked: %w", p.arg.ID, err)
		}
	}
}

// signal sends the process a signal.
func (p *proc) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s)
		p.stopped = s == syscall.SIGSTOP
	}
}

// kill ends the process at once, and waits until it is gone.
func (p *proc) kill() {
	p.signal(syscall.SIGKILL)
	_ = p.gone()
}

// gone waits until the process has ended. One that does not is made to show its goroutines, and killed.
func (p *proc) gone() error {
	p.mu.Lock()
	exited, c := p.exited, p.client
	p.mu.Unlock()
	var err error
	if exited != nil {
		select {
		case <-exited:
		case <-time.After(30 * time.Second):
			err = fmt.Errorf("%s does not end", p.arg.ID)
			p.signal(syscall.SIGQUIT)
			<-exited
		}
	}
	p.mu.Lock()
	p.cmd, p.client = nil, nil
	p.mu.Unlock()
	if c != nil {
		_ = c.Close()
	}
	return err
}

// call asks the process, and gives up after a while: it may be stopped.
func (p *proc) call(method string, arg, reply any, patience time.Duration) error {
	p.mu.Lock()
	c := p.client
	p.mu.Unlock()
	if c == nil {
		return errDown
	}
	call := c.Go("Node."+method, arg, reply, make(chan *rpc.Call, 1))
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-call.Done:
		return call.Error
	case <-t.C:
		return fmt.Errorf("%s does not answer", p.arg.ID)
	}
}

func (p *proc) state() (State, error) {
	s := new(State)
	err := p.call("State", 0, s, 2*time.Second)
	if err != nil {
		return State{}, err // what arrives later is not looked at
	}
	return *s, nil
}

// primary is the index of the process that says that it can write, or -1.
func (f *fleet) primary() int {
	for i, p := range f.procs {
		if s, err := p.state(); err == nil && s.CanWrite {
			return i
		}
	}
	return -1
}

// settled waits until every process leads or follows, all in sync.
func (f *fleet) settled(patience time.Duration) {
	f.t.Helper()
	var last []string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		last = nil
		leads, follows, inSync := 0, 0, 0
		for _, p := range f.procs {
			s, err := p.state()
			last = append(last, fmt.Sprintf("%s: %+v %v", p.arg.ID, s, err))
			switch {
			case err == nil && s.State == "Primary" && s.CanWrite:
				leads, inSync = leads+1, s.InSync
			case err == nil && s.State == "Following":
				follows++
			}
		}
		if leads == 1 && follows == len(f.procs)-1 && inSync == follows {
			return
		}
	}
	for _, s := range last {
		f.t.Log(s)
	}
	f.t.Fatalf("not at rest after %v", patience)
}

// same verifies that all processes hold the same, and returns it.
func (f *fleet) same(patience time.Duration) map[string]string {
	f.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		first, differs := map[string]string(nil), ""
		for i, p := range f.procs {
			got := map[string]string{}
			must(f.t, p.call("Dump", 0, &got, time.Minute))
			if i == 0 {
				first = got
				continue
			}
			for k := range first {
				if got[k] != first[k] {
					differs = fmt.Sprintf("%q is %q on n1, and %q on %s", k, first[k], got[k], p.arg.ID)
				}
			}
			if differs == "" && len(got) != len(first) {
				differs = fmt.Sprintf("n1 holds %d keys, %s %d", len(first), p.arg.ID, len(got))
			}
		}
		if differs == "" {
			return first
		}
		if time.Now().After(end) {
			f.t.Fatalf("the copies differ: %s", differs)
		}
	}
}

func (f *fleet) close() {
	if f.t.Failed() {
		for _, p := range f.procs {
			b, _ := os.ReadFile(filepath.Join(p.arg.Dir, "log"))
			f.t.Logf("the end of the log of %s:\n%s", p.arg.ID, b[max(0, len(b)-4000):])
		}
	}
	for _, p := range f.procs {
		p.kill()
	}
	for _, l := range f.links {
		l.close()
	}
}
