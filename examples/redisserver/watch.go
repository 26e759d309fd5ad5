package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

const (
	clearScreen = "\x1b[H\x1b[2J"
	toTop       = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// watcher shows a cluster in a terminal. It asks the servers what redis-cli would ask them: CLUSTER NODES and INFO.
type watcher struct {
	options redis.Options // of each connection, but the address
	known   []string      // addresses of clients, those given first
	clients map[string]*redis.Client
	last    map[string]sample
}

// watch is the program with the argument "status": it returns the exit status. 1: no server answers.
func watch(ctx context.Context, args []string, out, errs io.Writer) int {
	f := flag.NewFlagSet("redisserver status", flag.ContinueOnError)
	f.SetOutput(errs)
	addrs := f.String("addr", "127.0.0.1:7001", "addresses for clients of one server or more, with commas between; the others are found")
	every := f.Duration("every", time.Second, "time between two looks")
	once := f.Bool("once", false, "look once (as when the output is no terminal)")
	password := f.String("password", os.Getenv("REDISSERVER_PASSWORD"), "password of the servers")
	ca := f.String("tls-ca", "", "authorities of the servers' certificates, PEM: speak TLS")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if *every <= 0 || f.NArg() > 0 {
		fmt.Fprintln(errs, "redisserver: -every must be above zero, and there are no arguments but flags")
		return 2
	}
	redis.SetLogger(silent{}) // it would write into the picture
	w := &watcher{options: redis.Options{Password: *password, Protocol: 2, MaxRetries: -1, DialTimeout: 2 * time.Second,
		ReadTimeout: 2 * time.Second, PoolSize: 1, DialerRetries: 1, DisableIdentity: true}, known: strings.Split(strings.ReplaceAll(*addrs, " ", ""), ","),
		clients: map[string]*redis.Client{}, last: map[string]sample{}}
	defer w.close()
	if *ca != "" {
		secure, err := rootsOf(*ca)
		if err != nil {
			fmt.Fprintln(errs, "redisserver:", err)
			return 2
		}
		w.options.TLSConfig = secure
	}
	if err := w.loop(ctx, out, *every, *once || !isTerminal(out)); err != nil {
		fmt.Fprintln(errs, "redisserver:", err)
		return 1
	}
	return 0
}

func rootsOf(file string) (*tls.Config, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("-tls-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("-tls-ca: no certificate in %s", file)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// loop looks and draws until ctx ends. While nobody answers it says so, and goes on.
func (w *watcher) loop(ctx context.Context, out io.Writer, every time.Duration, once bool) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for first := true; ; first = false {
		p, err := w.look(ctx)
		if once {
			if err == nil {
				_, err = io.WriteString(out, p.render(time.Now()))
			}
			return err
		}
		text := ""
		if err != nil {
			text = "no server answers: " + err.Error() + "\n"
		} else {
			text = p.render(time.Now())
		}
		start := toTop
		if first {
			start = clearScreen
		}
		// Each line is cleared behind its end, and what was below the last: nothing flickers.
		if _, err := io.WriteString(out, start+strings.ReplaceAll(text, "\n", clearLine+"\n")+clearBelow); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (w *watcher) client(addr string) *redis.Client {
	c := w.clients[addr]
	if c == nil {
		o := w.options
		o.Addr = addr
		c = redis.NewClient(&o)
		w.clients[addr] = c
	}
	return c
}

func (w *watcher) close() {
	for _, c := range w.clients {
		c.Close()
	}
}

// look asks the first server that answers who there is, and then all of them how they are.
func (w *watcher) look(ctx context.Context) (picture, error) {
	var errs []error
	for _, addr := range w.known {
		c := w.client(addr)
		info, err := c.Info(ctx).Result()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", addr, err))
			continue
		}
		p := picture{from: addr}
		if fields(info)["cluster_enabled"] != "1" {
			p.nodes = []nodePicture{w.node(nodePicture{addr: addr, slots: "all", up: true}, info)}
			return p, nil
		}
		nodes, err := c.ClusterNodes(ctx).Result()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", addr, err))
			continue
		}
		state, err := c.ClusterInfo(ctx).Result()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", addr, err))
			continue
		}
		p.cluster = fields(state)
		return p, w.ask(ctx, &p, nodes)
	}
	return picture{}, errors.Join(errs...)
}

// ask completes a picture with what each node says of itself. Who does not answer is shown as such.
func (w *watcher) ask(ctx context.Context, p *picture, lines string) error {
	for _, l := range strings.Split(strings.TrimSpace(lines), "\n") {
		n, err := parseNode(l)
		if err != nil {
			return err
		}
		p.nodes = append(p.nodes, n)
		if n.addr != "" && !slices.Contains(w.known, n.addr) {
			w.known = append(w.known, n.addr)
		}
	}
	infos := make([]string, len(p.nodes))
	var g errgroup.Group
	for i, n := range p.nodes {
		if n.addr == "" {
			continue
		}
		c := w.client(n.addr)
		g.Go(func() error {
			infos[i], _ = c.Info(ctx).Result() // "" if it does not answer
			return nil
		})
	}
	_ = g.Wait()
	for i := range p.nodes {
		p.nodes[i].up = infos[i] != ""
		p.nodes[i] = w.node(p.nodes[i], infos[i])
	}
	return nil
}

// silent is a logger of go-redis.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}
