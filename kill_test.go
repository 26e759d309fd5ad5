package kv_test

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
	"strings"
	"sync"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/internal/dircopy"
)

// killRuns is how many processes TestKill kills.
var killRuns = flag.Int("kills", 50, "how many processes TestKill kills")

// killEnv tells a process of this test binary to be a child that writes until it is killed.
const killEnv = "HESSONITE_TEST_CHILD"

func TestMain(m *testing.M) {
	if arg := os.Getenv(killEnv); arg != "" {
		killChild(arg)
		return
	}
	if arg := os.Getenv(hostEnv); arg != "" {
		runHost(arg)
		return
	}
	os.Exit(m.Run())
}

const (
	killWriters = 4  // of a child, each with keys of its own, and one write at a time
	killKeys    = 12 // of a writer
)

// killArg is what a child has to know. What it writes follows from it.
type killArg struct {
	Dir  string
	Sync kv.SyncPolicy
	Seed uint64
	Life uint64 // number of the child of this directory
}

// killOp is one write: value "" deletes, and several keys are a batch.
type killOp struct {
	keys  []int
	value string
}

// op is the n-th write of a writer in this life.
func (a killArg) op(writer, n int) killOp {
	rnd := rand.New(rand.NewPCG(a.Seed+a.Life, uint64(writer)<<32+uint64(n)))
	op := killOp{keys: rnd.Perm(killKeys)[:1]}
	if rnd.IntN(4) == 0 {
		op.keys = rnd.Perm(killKeys)[:2+rnd.IntN(5)]
	}
	if rnd.IntN(6) > 0 {
		size := rnd.IntN(100)
		if rnd.IntN(10) == 0 {
			size = 4000 + rnd.IntN(8000) // some lie in the value log
		}
		op.value = fmt.Sprintf("life %d, writer %d, write %d %s", a.Life, writer, n, strings.Repeat("x", size))
	}
	return op
}

func killKey(writer, k int) []byte { return fmt.Appendf(nil, "w%d-%d", writer, k) }

// do carries a write out.
func (op killOp) do(ctx context.Context, n *kv.Node, writer int) (kv.Version, error) {
	var b kv.Batch
	for _, k := range op.keys {
		if op.value == "" {
			b.Delete(killKey(writer, k))
		} else {
			b.Set(killKey(writer, k), []byte(op.value))
		}
	}
	return n.Write(ctx, &b)
}

// killChild opens the directory, writes, and prints every write that was acknowledged.
func killChild(arg string) {
	var a killArg
	if err := json.Unmarshal([]byte(arg), &a); err != nil {
		panic(err)
	}
	ctx := context.Background()
	n, err := kv.Open(ctx, kv.Options{Dir: a.Dir, Sync: a.Sync})
	if err == nil {
		err = n.Ready(ctx)
	}
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range killWriters {
		wg.Go(func() {
			for i := 0; ; i++ {
				v, err := a.op(w, i).do(ctx, n, w)
				mu.Lock()
				if err != nil {
					fmt.Println("error", err)
				} else {
					fmt.Println("ack", w, i, uint64(v.Epoch()), uint64(v.LSN()))
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// killAck is what a child says of a write.
type killAck struct{ epoch, lsn uint64 }

// kill runs a child, and kills it after so many acknowledged writes or after a time, whatever comes first. It returns what each writer was
// told, in order.
func (a killArg) kill(t *testing.T, writes int, after time.Duration) (acks [killWriters][]killAck) {
	t.Helper()
	arg, err := json.Marshal(a)
	must(t, err)
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), killEnv+"="+string(arg))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	total := 0
	for read := bufio.NewReader(out); ; {
		line, err := read.ReadString('\n')
		if err != nil {
			break // a line that is cut short tells nothing
		}
		var w, n int
		var ack killAck
		if _, err := fmt.Sscanf(line, "ack %d %d %d %d\n", &w, &n, &ack.epoch, &ack.lsn); err != nil || w >= killWriters || n != len(acks[w]) {
			t.Errorf("child says %q", line)
			continue
		}
		acks[w] = append(acks[w], ack)
		if total++; total >= writes {
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Wait() // killed
	return acks
}

// killValue is what a key holds, and the record that it comes from, if that was told.
type killValue struct {
	value string
	from  killAck
}

// killModel is what a directory has to hold.
type killModel struct {
	now  [killWriters][killKeys]killValue
	seen map[killAck]string // every record that was acknowledged
}

// after is the writer's keys after a write.
func (m *killModel) after(keys [killKeys]killValue, op killOp, from killAck) [killKeys]killValue {
	for _, k := range op.keys {
		keys[k] = killValue{op.value, from}
	}
	return keys
}

// acked takes over what a child was told. What its writers did last, of which nothing was heard, is returned: each may have happened, or not.
func (m *killModel) acked(t *testing.T, a killArg, acks [killWriters][]killAck) (open [killWriters]killOp) {
	t.Helper()
	for w := range acks {
		for n, ack := range acks[w] {
			name, op := fmt.Sprintf("life %d, writer %d, write %d", a.Life, w, n), a.op(w, n)
			if op.value == "" {
				m.now[w] = m.after(m.now[w], op, killAck{}) // without a record of its own if the keys held nothing
				continue
			}
			if other := m.seen[ack]; other != "" {
				t.Fatalf("%s and %s are both record %d of epoch %d", other, name, ack.lsn, ack.epoch)
			}
			m.seen[ack] = name
			m.now[w] = m.after(m.now[w], op, ack)
		}
		open[w] = a.op(w, len(acks[w]))
	}
	return open
}

// check compares a node with the model, and returns what the writers' keys are now.
func (m *killModel) check(t *testing.T, n *kv.Node, open [killWriters]killOp) (now [killWriters][killKeys]killValue) {
	t.Helper()
	ctx := within(t, time.Minute)
	held := map[string]kv.Item{}
	for it, err := range n.Scan(ctx, nil) {
		must(t, err)
		held[string(it.Key)] = it
	}
	for w := range now {
		same := func(keys [killKeys]killValue) error {
			for k, want := range keys {
				it, ok := held[string(killKey(w, k))]
				from := killAck{uint64(it.Version.Epoch()), uint64(it.Version.LSN())}
				if ok != (want.value != "") || string(it.Value) != want.value {
					return fmt.Errorf("%s is %.60q, want %.60q", killKey(w, k), it.Value, want.value)
				}
				if ok && want.from != (killAck{}) && from != want.from {
					return fmt.Errorf("%s is record %v, was acknowledged as %v", killKey(w, k), from, want.from)
				}
				if other := m.seen[from]; ok && want.from == (killAck{}) && other != "" && !strings.HasPrefix(want.value, other+" ") {
					return fmt.Errorf("%s is record %v, which is %s", killKey(w, k), from, other)
				}
			}
			return nil
		}
		acked, also := m.now[w], m.after(m.now[w], open[w], killAck{})
		err, errAlso := same(acked), same(also)
		switch {
		case err == nil:
			now[w] = acked
		case errAlso == nil:
			now[w] = also
		default:
			t.Fatalf("writer %d: %v; with the write that was not acknowledged: %v", w, err, errAlso)
		}
	}
	return now
}

// Whenever a process is killed, nothing that it acknowledged is lost, batches are whole, no two records have one name, and the directory can
// be opened in bounded time: by itself, and as a copy that was made at that moment.
func TestKill(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	policies := []kv.SyncPolicy{kv.SyncNever, kv.SyncAlways, kv.SyncEvery(2 * time.Millisecond)}
	const lives = 10 // of a directory
	writes := 0
	for n := 0; n < *killRuns; n += lives {
		a := killArg{Dir: t.TempDir(), Sync: policies[n/lives%len(policies)], Seed: rnd.Uint64()}
		m := &killModel{seen: map[killAck]string{}}
		for ; a.Life < uint64(min(lives, *killRuns-n)); a.Life++ {
			killOnce(t, a, m, rnd)
		}
		writes += len(m.seen)
	}
	t.Logf("%d acknowledged writes", writes)
}

func killOnce(t *testing.T, a killArg, m *killModel, rnd *rand.Rand) {
	t.Helper()
	writes, after := rnd.IntN(400), time.Minute
	if rnd.IntN(3) == 0 {
		after = time.Duration(rnd.IntN(100)) * time.Millisecond // also while it opens
	}
	open := m.acked(t, a, a.kill(t, writes, after))
	copied := filepath.Join(t.TempDir(), "copy")
	must(t, dircopy.Copy(a.Dir, copied))
	defer os.RemoveAll(copied)
	for _, dir := range []string{copied, a.Dir} {
		n, err := kv.Open(within(t, time.Minute), kv.Options{Dir: dir, Sync: a.Sync})
		if err != nil {
			t.Fatalf("life %d, %s, killed after %d writes or %v: open: %v", a.Life, a.Sync, writes, after, err)
		}
		now := m.check(t, n, open)
		must(t, n.Close())
		if dir == a.Dir {
			m.now = now
		}
	}
}
