package badger

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/dircopy"
)

// childEnv tells a process of this test binary to be a child that writes until it is killed.
const childEnv = "HESSONITE_BADGER_TEST_CHILD"

// childArg is what a child has to know.
type childArg struct {
	Dir  string
	Seed uint64
	Keys int
	Long bool
	Sync Sync
}

func (a childArg) script() script { return script{seed: a.Seed, keys: a.Keys, long: a.Long} }

func (a childArg) options() Options {
	return Options{Dir: a.Dir, Node: "node", Sync: a.Sync, MinFree: -1}
}

// child opens the directory, goes on with the script, and prints every LSN that was acknowledged.
func child(arg string) {
	var a childArg
	if err := json.Unmarshal([]byte(arg), &a); err != nil {
		panic(err)
	}
	out := bufio.NewWriter(os.Stdout)
	e, err := Open(context.Background(), a.options())
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Fprintln(out, "open", e.Base().LSN, e.StoreID())
	out.Flush()
	if len(e.Base().History.Reigns) == 0 {
		h, err := cluster.History{Group: cluster.NewGroupID()}.Append(cluster.Reign{Epoch: 1, ID: cluster.NewReignID(), First: 1})
		if err == nil {
			err = e.SetHistory(h)
		}
		if err != nil {
			panic(err)
		}
	}
	w := &childWriter{e: e, script: a.script(), next: e.Base().LSN, committed: e.Base().LSN}
	w.more.L = &w.mu
	e.OnCommit(func(lsn cluster.LSN, fault error) {
		w.told(lsn)
		if fault != nil {
			fmt.Fprintln(out, "error", fault)
		} else {
			fmt.Fprintln(out, "ack", lsn)
		}
		out.Flush()
	})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				if err := w.step(); err != nil {
					panic(err)
				}
			}
		})
	}
	for {
		if err := e.Purge(e.Base().LSN/2, 500); err != nil {
			panic(err)
		}
	}
}

// childWriter writes the entries of a script from several goroutines, and not too many ahead of the commits.
type childWriter struct {
	e      *Engine
	script script

	mu        sync.Mutex
	more      sync.Cond
	next      cluster.LSN
	committed cluster.LSN
}

func (w *childWriter) told(lsn cluster.LSN) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.committed = lsn
	w.more.Broadcast()
}

// step gives the next LSN, and applies its entry. An LSN is given under the locks of its shards, which only the script knows when it
// knows the LSN: so they are taken under a lock that orders all writers, and entries of different shards are still applied out of order.
func (w *childWriter) step() error {
	w.mu.Lock()
	for w.next >= w.committed+maxAhead {
		w.more.Wait()
	}
	lsn := w.next + 1
	recs := w.script.entry(lsn)
	shards := shardsOf(recs)
	for _, sh := range shards {
		w.e.Lock(sh)
	}
	w.next = lsn
	w.mu.Unlock()
	defer func() {
		for _, sh := range shards {
			w.e.Unlock(sh)
		}
	}()
	return w.e.Apply(lsn, recs)
}

// maxAhead is how many LSNs may wait for their commit.
const maxAhead = 64

// kill runs a child, and kills it when it has acknowledged so many LSNs, or after a time, whatever comes first. It returns the last LSN that
// was acknowledged.
func (a childArg) kill(t *testing.T, lsns cluster.LSN, after time.Duration) cluster.LSN {
	t.Helper()
	arg, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+string(arg))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	first, last := cluster.LSN(0), cluster.LSN(0)
	for read := bufio.NewReader(out); ; {
		line, err := read.ReadString('\n')
		if err != nil {
			break // a line that is cut short tells nothing
		}
		var word string
		var lsn cluster.LSN
		if k, _ := fmt.Sscan(line, &word, &lsn); k != 2 || word != "ack" && word != "open" {
			t.Errorf("child says %q", line)
			continue
		}
		if word == "open" {
			first = lsn
		}
		if lsn < last {
			t.Errorf("acknowledged %d after %d", lsn, last)
		}
		if last = lsn; last >= first+lsns {
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Wait() // killed
	return last
}

// kills is how often TestKill kills.
var kills = flag.Int("kills", 12, "how many processes are killed")

// TestKill: whenever a process is killed, nothing that it acknowledged is lost, entries are whole, and the directory can be opened: by
// itself, and as a copy.
func TestKill(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	modes := []Sync{{}, {Mode: SyncAlways}, {Mode: SyncEvery, Every: 3 * time.Millisecond}}
	for n := 0; n < *kills; n += 4 {
		a := childArg{Dir: t.TempDir(), Seed: rnd.Uint64(), Keys: 300, Long: rnd.IntN(3) == 0, Sync: modes[n/4%len(modes)]}
		t.Run(fmt.Sprintf("%s %d", a.Sync.Mode, n/4), func(t *testing.T) { testKill(t, a, rnd) })
	}
}

func testKill(t *testing.T, a childArg, rnd *rand.Rand) {
	var acked cluster.LSN
	var id cluster.StoreID // as it was when the directory was opened last
	m := a.script().model()
	for k := range 4 {
		lsns, after := cluster.LSN(rnd.IntN(2000)), time.Minute
		if k%2 == 1 {
			after = time.Duration(rnd.IntN(60)) * time.Millisecond // also while it starts
		}
		acked = max(acked, a.kill(t, lsns, after))
		copied := a
		copied.Dir = filepath.Join(t.TempDir(), "copy")
		check(t, dircopy.Copy(a.Dir, copied.Dir))
		for _, b := range []childArg{copied, a} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			e, err := Open(ctx, b.options())
			cancel()
			if err != nil {
				t.Fatalf("kill %d: open: %v", k, err)
			}
			if base := e.Base().LSN; base < acked {
				t.Fatalf("kill %d: %d was acknowledged, the base is at %d", k, acked, base)
			}
			if !id.IsZero() && e.StoreID() != id {
				t.Fatalf("kill %d: the store ID has changed, though nothing is lost", k)
			}
			if b.Dir == a.Dir {
				id = e.StoreID()
			}
			m.check(t, e)
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("acknowledged %d", acked)
}
