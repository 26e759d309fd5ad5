package kv_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/cluster/consensus"
	"github.com/hessonite/kv/transport"
)

// oneOfThree is the program of each of three hosts: a node with a voter beside it, on disk, over TCP. It is the same at every start.
func oneOfThree(ctx context.Context, id, addr, dir string, peers []consensus.Peer) (n *kv.Node, end func(), err error) {
	t, err := transport.ListenTCP(addr, transport.TCPOptions{NodeID: cluster.NodeID(id), ClusterID: "orders"})
	if err != nil {
		return nil, nil, err
	}
	c, err := consensus.Open(ctx, consensus.Options{ID: id, Dir: filepath.Join(dir, "raft"), Transport: t, Peers: peers})
	if err != nil {
		return nil, nil, err
	}
	n, err = kv.Open(ctx, kv.Options{ID: id, Dir: filepath.Join(dir, "data"), Transport: t, Coordinator: c})
	if err != nil {
		return nil, nil, err
	}
	end = func() {
		if err := n.Shutdown(ctx); err != nil {
			log.Print(err)
		}
		c.Close()
		t.Close()
	}
	return n, end, n.Join(ctx, "orders") // opens the group, or follows its primary
}

// Three hosts, each with the same program, that become one cluster and stay one while each of them is started anew.
func Example_threeNodesTCP() {
	dir, err := os.MkdirTemp("", "three-nodes-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	hosts := threeHosts(dir)
	for _, h := range hosts {
		h.start()
	}
	for i, h := range hosts {
		fmt.Println(h.set("greeting", fmt.Sprint("hello ", i+1)))
	}
	for i, h := range hosts { // a rolling restart
		h.stop()
		fmt.Println(hosts[(i+1)%3].get("greeting"))
		h.start()
		fmt.Println(h.get("greeting"))
	}
	for _, h := range hosts {
		h.stop()
	}
	// Output:
	// ok
	// ok
	// ok
	// hello 3
	// hello 3
	// hello 3
	// hello 3
	// hello 3
	// hello 3
}

// host is one of the three processes. It takes commands on its standard input.
type host struct {
	ID, Addr, Dir string
	Peers         []consensus.Peer
	cmd           *exec.Cmd
	in            io.WriteCloser
	out           *bufio.Reader
}

// hostEnv tells a process of this test binary to be a host.
const hostEnv = "HESSONITE_TEST_HOST"

func threeHosts(dir string) (hosts []*host) {
	var peers []consensus.Peer
	for i := range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0") // an address that is free
		if err != nil {
			log.Fatal(err)
		}
		defer l.Close()
		peers = append(peers, consensus.Peer{ID: fmt.Sprint("n", i+1), Addr: l.Addr().String()})
	}
	for _, p := range peers {
		hosts = append(hosts, &host{ID: p.ID, Addr: p.Addr, Dir: filepath.Join(dir, p.ID), Peers: peers})
	}
	return hosts
}

// runHost is the process of a host: the program, and a loop that does what it is told.
func runHost(arg string) {
	var h host
	if err := json.Unmarshal([]byte(arg), &h); err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	n, end, err := oneOfThree(ctx, h.ID, h.Addr, h.Dir, h.Peers)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	for in := json.NewDecoder(os.Stdin); ; {
		var cmd []string
		if err := in.Decode(&cmd); err != nil {
			end() // the standard input is closed
			return
		}
		if len(cmd) == 2 {
			fmt.Println(answer(n.Set(ctx, []byte(cmd[0]), []byte(cmd[1])), "ok"))
		} else {
			v, err := n.Get(ctx, []byte(cmd[0]), kv.Linearizable())
			fmt.Println(answer(err, string(v)))
		}
	}
}

func answer(err error, text string) string {
	if err != nil {
		return err.Error()
	}
	return text
}

func (h *host) start() {
	arg, _ := json.Marshal(h)
	h.cmd = exec.Command(os.Args[0])
	h.cmd.Env = append(os.Environ(), hostEnv+"="+string(arg))
	h.cmd.Stderr = os.Stderr
	in, err := h.cmd.StdinPipe()
	if err != nil {
		log.Fatal(err)
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		log.Fatal(err)
	}
	h.in, h.out = in, bufio.NewReader(out)
	if err := h.cmd.Start(); err != nil {
		log.Fatal(err)
	}
}

func (h *host) do(cmd ...string) string {
	if err := json.NewEncoder(h.in).Encode(cmd); err != nil {
		return err.Error()
	}
	for {
		line, err := h.out.ReadString('\n')
		if err != nil {
			return err.Error()
		}
		if line != "ready\n" {
			return line[:len(line)-1]
		}
	}
}

func (h *host) set(key, value string) string { return h.do(key, value) }
func (h *host) get(key string) string        { return h.do(key) }

func (h *host) stop() {
	_ = h.in.Close()
	_ = h.cmd.Wait()
}
