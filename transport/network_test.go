package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hessonite/kv/cluster"
)

// pair dials from a to b and returns both ends. The handler at b waits for the test's end.
func pair(t *testing.T, n *Network) (dialled, accepted Stream) {
	t.Helper()
	ends := make(chan Stream, 1)
	a, b := n.Node("a"), n.Node("b")
	stop := make(chan struct{})
	t.Cleanup(func() {
		close(stop)
		a.Close()
		b.Close()
	})
	b.Handle("test", func(s Stream) {
		ends <- s
		<-stop
	})
	s, err := a.Dial(t.Context(), Peer{ID: "b", Addr: b.Addr()}, "test")
	if err != nil {
		t.Fatal(err)
	}
	return s, <-ends
}

func send(t *testing.T, s Stream, head string) {
	t.Helper()
	if err := s.Send(t.Context(), Frame{Head: []byte(head)}); err != nil {
		t.Fatalf("send %q: %v", head, err)
	}
}

func recv(t *testing.T, s Stream, head string) {
	t.Helper()
	f, err := s.Recv(t.Context())
	if err != nil {
		t.Fatalf("receive: %v, want %q", err, head)
	}
	if string(f.Head) != head {
		t.Fatalf("received %q, want %q", f.Head, head)
	}
}

func recvErr(t *testing.T, s Stream, want error) {
	t.Helper()
	if f, err := s.Recv(t.Context()); !errors.Is(err, want) {
		t.Fatalf("received %q, %v; want %v", f.Head, err, want)
	}
}

// recvNothing checks that nothing arrives within d of virtual time, and that the stream survives the wait.
func recvNothing(t *testing.T, s Stream, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if f, err := s.Recv(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("received %q, %v; want nothing", f.Head, err)
	}
}

func TestNetworkPartitionHoldsFramesUntilHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork()
		a, b := pair(t, n)
		n.Partition("a", "b")
		send(t, a, "1")
		send(t, a, "2")
		send(t, b, "back") // the other direction works
		recv(t, a, "back")
		recvNothing(t, b, time.Second)
		n.Heal()
		recv(t, b, "1")
		recv(t, b, "2")
	})
}

func TestNetworkSilenceBreaksStreams(t *testing.T) {
	for _, fault := range []string{"partition", "isolate", "hang"} {
		t.Run(fault, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := NewNetwork()
				a, b := pair(t, n)
				switch fault {
				case "partition":
					n.Partition("a", "b")
				case "isolate":
					n.Isolate("b")
				case "hang":
					n.Hang("a", "b")
				}
				start := time.Now()
				recvErr(t, b, ErrBroken)
				if d := time.Since(start); d != DefaultIdleTimeout {
					t.Errorf("broke after %v, want %v", d, DefaultIdleTimeout)
				}
				recvErr(t, a, ErrBroken)
			})
		})
	}
}

func TestNetworkStallNeverBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork()
		a, b := pair(t, n)
		n.Stall("a", "b")
		send(t, a, "1")
		recvNothing(t, b, time.Hour)
		a.Close() // swallowed, too
		recvNothing(t, b, time.Hour)
		n.Heal()
		recvErr(t, b, ErrBroken)
	})
}

func TestNetworkHangAcceptsAndNeverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(WithIdleTimeout(0))
		a, b := n.Node("a"), n.Node("b")
		defer a.Close()
		defer b.Close()
		ran := make(chan struct{})
		b.Handle("test", func(s Stream) {
			close(ran)
			f, _ := s.Recv(t.Context())
			s.Send(t.Context(), f)
			s.CloseWrite()
		})
		n.Hang("a", "b")
		s, err := a.Dial(t.Context(), Peer{ID: "b"}, "test")
		if err != nil {
			t.Fatal(err)
		}
		send(t, s, "hello")
		recvNothing(t, s, time.Hour)
		select {
		case <-ran:
			t.Fatal("a hung node ran a handler")
		default:
		}
		n.Heal()
		recv(t, s, "hello")
		recvErr(t, s, io.EOF)
	})
}

func TestNetworkHungDialOfUnknownProtocolBreaksAtHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(WithIdleTimeout(0))
		a, b := n.Node("a"), n.Node("b")
		defer a.Close()
		defer b.Close()
		n.Hang("a", "b")
		s, err := a.Dial(t.Context(), Peer{ID: "b"}, "nobody")
		if err != nil {
			t.Fatal(err)
		}
		n.Heal()
		recvErr(t, s, ErrBroken)
	})
}

func TestNetworkCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork()
		a, b := pair(t, n)
		send(t, a, "lost")
		n.Hang("a", "b")
		n.Cut("b", "a")
		recvErr(t, a, ErrBroken)
		recvErr(t, b, ErrBroken)
		if err := a.Send(t.Context(), Frame{}); !errors.Is(err, ErrBroken) {
			t.Errorf("send after a cut: %v", err)
		}
	})
}

func TestNetworkDelayKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork()
		a, b := pair(t, n)
		n.Delay("a", "b", time.Second)
		start := time.Now()
		send(t, a, "1")
		n.Delay("a", "b", time.Millisecond)
		send(t, a, "2")
		n.Heal()
		send(t, a, "3")
		a.CloseWrite()
		for i := range 3 {
			recv(t, b, fmt.Sprint(i+1))
		}
		recvErr(t, b, io.EOF)
		if d := time.Since(start); d != time.Second {
			t.Errorf("took %v, want 1s", d)
		}
	})
}

func TestNetworkDropBreaksAndNeverLoses(t *testing.T) {
	broke := 0
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			n := NewNetwork(WithSeed(seed))
			a, b := pair(t, n)
			n.Drop("a", "b", 0.05)
			for i := range 20 {
				if err := a.Send(t.Context(), Frame{Head: fmt.Append(nil, i)}); err != nil {
					if !errors.Is(err, ErrBroken) {
						t.Fatalf("seed %d: %v", seed, err)
					}
					recvErr(t, b, ErrBroken)
					broke++
					return
				}
				recv(t, b, fmt.Sprint(i))
			}
		})
	}
	if broke < 15 || broke > 48 { // 1-0.95^20 is 64 % of 50 seeds
		t.Errorf("%d of 50 streams broke", broke)
	}
}

func TestNetworkKillAndRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork()
		a, b := pair(t, n)
		old := n.Node("b")
		n.Kill("b")
		recvErr(t, a, ErrBroken)
		recvErr(t, b, ErrClosed)
		if _, err := n.Node("a").Dial(t.Context(), Peer{ID: "b"}, "test"); !errors.Is(err, ErrUnreachable) {
			t.Errorf("dial to a killed node: %v", err)
		}
		if _, err := old.Dial(t.Context(), Peer{ID: "a"}, "test"); !errors.Is(err, ErrClosed) {
			t.Errorf("dial from a killed node: %v", err)
		}
		again := n.Node("b")
		if again == old {
			t.Fatal("the killed transport came back")
		}
		defer again.Close()
		again.Handle("test", func(s Stream) { s.Recv(t.Context()) })
		if _, err := n.Node("a").Dial(t.Context(), Peer{ID: "b"}, "test"); err != nil {
			t.Error(err)
		}
	})
}

func TestNetworkKillBehindPartitionIsHeardAtHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(WithIdleTimeout(0))
		a, _ := pair(t, n)
		n.Isolate("b")
		n.Kill("b")
		send(t, a, "into the void")
		recvNothing(t, a, time.Hour)
		n.Heal()
		recvErr(t, a, ErrBroken)
	})
}

func TestNetworkDialAcrossPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork()
		a, b := n.Node("a"), n.Node("b")
		defer a.Close()
		defer b.Close()
		b.Handle("test", func(s Stream) { s.Recv(t.Context()) })
		n.Partition("b", "a") // the answer cannot come back
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Dial(ctx, Peer{ID: "b"}, "test"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial with a context: %v", err)
		}
		if _, err := a.Dial(t.Context(), Peer{ID: "b"}, "test"); !errors.Is(err, ErrUnreachable) {
			t.Errorf("dial without: %v", err)
		}
		time.AfterFunc(time.Second, n.Heal)
		if _, err := a.Dial(t.Context(), Peer{ID: "b"}, "test"); err != nil {
			t.Errorf("dial that was healed: %v", err)
		}
		refusing := NewNetwork(WithRefusedDials())
		refusing.Partition("a", "b")
		start := time.Now()
		c := refusing.Node("a")
		defer c.Close()
		if _, err := c.Dial(t.Context(), Peer{ID: "b"}, "test"); !errors.Is(err, ErrUnreachable) || time.Now() != start {
			t.Errorf("refused dial: %v after %v", err, time.Since(start))
		}
	})
}

func TestNetworkIntercept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork()
		a, b := pair(t, n)
		count := 0
		n.Intercept(func(from, to cluster.NodeID, p Protocol, f *Frame) Verdict {
			if from != "a" || to != "b" || p != "test" {
				t.Errorf("intercepted %s to %s, %q", from, to, p)
			}
			count++
			switch count {
			case 2:
				return Lose
			case 3:
				return Repeat
			case 4:
				f.Head = FlipBit(f.Head, 1)
			case 5:
				n.Kill("b")
			}
			return Pass
		})
		for i := range 4 {
			send(t, a, fmt.Sprint(i+1))
		}
		for _, want := range []string{"1", "3", "3", "6"} { // '4' with a bit flipped is '6'
			recv(t, b, want)
		}
		if err := a.Send(t.Context(), Frame{}); !errors.Is(err, ErrBroken) {
			t.Errorf("send at the moment of death: %v", err)
		}
	})
}

func TestNetworkCorruptFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork()
		a, b := pair(t, n)
		n.Intercept(func(cluster.NodeID, cluster.NodeID, Protocol, *Frame) Verdict { return Corrupt })
		send(t, a, "1")
		recvErr(t, b, ErrCorrupt)
		recvErr(t, b, ErrBroken)
		recvErr(t, a, ErrBroken)
	})
}

func TestNetworkTwoProcessesUnderOneID(t *testing.T) {
	n := NewNetwork()
	first := n.Node("a")
	defer first.Close()
	if _, err := n.Listen(MemoryOptions{NodeID: "a"}); err == nil {
		t.Error("an address was given twice")
	}
	second, err := n.Listen(MemoryOptions{NodeID: "a", Addr: "mem://other", ClusterID: "elsewhere"})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if _, err := first.Dial(t.Context(), Peer{ID: "a", Addr: "mem://other"}, "test"); !errors.Is(err, ErrWrongCluster) {
		t.Errorf("dial to another cluster: %v", err)
	}
}

// The bytes that arrive are those that were sent, not a copy.
func TestNetworkHandsOver(t *testing.T) {
	n := NewNetwork()
	a, b := pair(t, n)
	released := false
	body := make([]byte, 1<<20)
	if err := a.Send(t.Context(), NewFrame(nil, body, func() { released = true })); err != nil {
		t.Fatal(err)
	}
	f, err := b.Recv(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if &f.Body[0] != &body[0] || released {
		t.Error("the body was copied or given back")
	}
	f.Release()
	if !released {
		t.Error("the receiver's Release did not reach the sender")
	}
}

// In process a body keeps the sum that its sender knows, until somebody puts another body in its place.
func TestNetworkBodySums(t *testing.T) {
	n := NewNetwork()
	a, b := pair(t, n)
	damage := false
	n.Intercept(func(_, _ cluster.NodeID, _ Protocol, f *Frame) Verdict {
		if damage {
			f.Body = FlipBit(f.Body, 3)
		}
		return Pass
	})
	body := []byte("body")
	for _, damage = range []bool{false, true} {
		f := Frame{Body: body}
		if _, ok := f.BodySum(); ok {
			t.Error("a new frame has a sum")
		}
		f.SetBodySum(checksum(body))
		if err := a.Send(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		f, err := b.Recv(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if sum, ok := f.BodySum(); ok == damage || ok && sum != checksum(body) {
			t.Errorf("damage %v: the sum is %x, %v", damage, sum, ok)
		}
		f.Body = f.Body[:2]
		if _, ok := f.BodySum(); ok {
			t.Error("a part of a body has the sum of the whole")
		}
	}
}
