package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
)

// config is what the flags say.
type config struct {
	id, listen, peer, http string
	announce, announcePeer string // host:port that clients and nodes are told, if it is not what is listened on
	dir                    string
	cluster                string
	bootstrap, voter       bool
	join                   []string
	autoFailover           bool
	minInSync, maxClients  int
	loops                  int
	syncRate, maxMemory    int64
	syncPatience           time.Duration
	staleReads             time.Duration
	timeout                time.Duration
	password               string
	tlsCert, tlsKey, tlsCA string
	logLevel               string
}

// clustered reports whether the node is one of a cluster; otherwise it stands alone and owns all slots.
func (c *config) clustered() bool { return c.bootstrap || len(c.join) > 0 }

func parseFlags(args []string, errs io.Writer) (config, error) {
	var c config
	var join string
	f := flag.NewFlagSet("redisserver", flag.ContinueOnError)
	f.SetOutput(errs)
	f.StringVar(&c.id, "id", "", "name of the node, which stays with its directory; required in a cluster")
	f.StringVar(&c.listen, "listen", "127.0.0.1:7001", "address for clients")
	f.StringVar(&c.announce, "announce", "", "address that clients are told (default: the one that is listened on)")
	f.StringVar(&c.announcePeer, "announce-peer", "", "address that other nodes are told (default: the one that is listened on)")
	f.StringVar(&c.peer, "peer", "", "address for other nodes (default: the clients' port and 10000 more)")
	f.StringVar(&c.http, "http", "", "address of the status page, health checks and metrics (default: none)")
	f.StringVar(&c.dir, "dir", "", "directory of the data (default: in memory)")
	f.StringVar(&c.cluster, "cluster", "redisserver", "name of the cluster; nodes of others are refused")
	f.BoolVar(&c.bootstrap, "bootstrap", false, "found a cluster, with this node as its first voter")
	f.StringVar(&join, "join", "", "addresses for nodes (-peer) of a cluster to join, one of which is up, with commas between")
	f.BoolVar(&c.voter, "voter", false, "take part in the decisions of the cluster; three or five nodes should")
	f.BoolVar(&c.autoFailover, "auto-failover", false, "replace a primary that is gone; the same on all voters. Without it an operator does: CLUSTER FAILOVER")
	f.IntVar(&c.minInSync, "min-in-sync", 0, "members, the primary included, without which writes are refused")
	f.Int64Var(&c.syncRate, "sync-rate", 0, "bytes a second that this node sends to replicas in a sync; 0: no limit")
	f.DurationVar(&c.syncPatience, "sync-patience", 0, "how long a first sync may be without progress before it is given up (default 30s)")
	f.DurationVar(&c.staleReads, "stale-reads", 10*time.Second, "what a replica answers after READONLY is at most that old")
	f.DurationVar(&c.timeout, "timeout", 10*time.Second, "how long a command may wait, for instance for replicas, before it fails")
	f.IntVar(&c.maxClients, "maxclients", 10000, "clients at a time; others are turned away")
	f.IntVar(&c.loops, "loops", -1, "goroutines that serve many clients each (on Linux, without TLS); 0: each client has one. Default: half as many as processors in memory, 0 with -dir")
	f.Int64Var(&c.maxMemory, "maxmemory", 0, "bytes of entries above which writes are refused; 0: no limit")
	f.StringVar(&c.password, "requirepass", "", "password that clients must give by AUTH; better by the environment: REDISSERVER_PASSWORD")
	f.StringVar(&c.tlsCert, "tls-cert", "", "certificate, PEM; with it clients, nodes and the status page speak TLS only")
	f.StringVar(&c.tlsKey, "tls-key", "", "private key of the certificate, PEM")
	f.StringVar(&c.tlsCA, "tls-ca", "", "authorities that sign the certificates of nodes, PEM")
	f.StringVar(&c.logLevel, "log", "warn", "least level of what is logged to the standard error: trace, debug, info, warn, error, off")
	if err := f.Parse(args); err != nil {
		return c, err
	}
	if f.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	for _, a := range strings.Split(join, ",") {
		if a = strings.TrimSpace(a); a != "" {
			c.join = append(c.join, a)
		}
	}
	if p := os.Getenv("REDISSERVER_PASSWORD"); p != "" && c.password == "" {
		c.password = p
	}
	return c, c.validate()
}

const maxLoops = 256

// clientLoops is how many loops serve clients. A disk takes its time with reads too, and TLS hides what has come.
func (c *config) clientLoops() int {
	switch {
	case c.tlsCert != "":
		return 0
	case c.loops >= 0:
		return c.loops
	case c.dir != "":
		return 0
	}
	return max(runtime.GOMAXPROCS(0)/2, 1)
}

var validID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// checkAddress says what is wrong with host:port.
func checkAddress(a string) error {
	_, port, err := net.SplitHostPort(a)
	if err != nil {
		return err
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("address %s: %q is no port (0 to 65535)", a, port)
	}
	return nil
}

// unspecified reports whether an address means all of the machine's.
func unspecified(a string) bool {
	host, _, err := net.SplitHostPort(a)
	ip := net.ParseIP(host)
	return err == nil && (host == "" || ip != nil && ip.IsUnspecified())
}

// validate reports all that is wrong, and fills in what was left out.
func (c *config) validate() error {
	var errs []error
	fault := func(f string, args ...any) { errs = append(errs, fmt.Errorf(f, args...)) }
	if c.bootstrap && len(c.join) > 0 {
		fault("-bootstrap founds a cluster, -join enters one: give one of them")
	}
	if c.clustered() && !validID.MatchString(c.id) {
		fault("-id: %q; a node of a cluster needs a name that stays, of letters, digits and . _ - (at most 64)", c.id)
	}
	if !c.clustered() && (c.voter || c.autoFailover || c.peer != "" || c.announce != "" || c.announcePeer != "" || c.minInSync > 1) {
		fault("-voter, -auto-failover, -peer, -announce, -announce-peer and -min-in-sync need a cluster: give -bootstrap or -join")
	}
	if c.cluster == "" {
		fault("-cluster is empty: a cluster needs a name")
	}
	if c.syncRate < 0 || c.maxMemory < 0 || c.syncPatience < 0 || c.minInSync < 0 || c.maxClients < 1 {
		fault("-sync-rate, -maxmemory, -sync-patience and -min-in-sync cannot be negative, and -maxclients must be above zero")
	}
	c.voter = c.voter || c.bootstrap
	for name, a := range map[string]string{"listen": c.listen, "announce": c.announce, "announce-peer": c.announcePeer, "peer": c.peer, "http": c.http} {
		if err := checkAddress(a); err != nil && (a != "" || name == "listen") {
			fault("-%s: %w", name, err)
		}
	}
	for _, a := range c.join {
		if err := checkAddress(a); err != nil {
			fault("-join: %w", err)
		}
	}
	if c.clustered() && c.announce == "" && unspecified(c.listen) {
		fault("-announce is missing: clients cannot be sent to %s", c.listen)
	}
	if at := cmp.Or(c.peer, c.listen); c.clustered() && c.announcePeer == "" && unspecified(at) {
		fault("-announce-peer is missing: nodes cannot be sent to %s", at)
	}
	if n := len(c.tlsCert) * len(c.tlsKey) * len(c.tlsCA); n == 0 && c.tlsCert+c.tlsKey+c.tlsCA != "" {
		fault("-tls-cert, -tls-key and -tls-ca go together")
	}
	if hclog.LevelFromString(c.logLevel) == hclog.NoLevel {
		fault("-log: %q is no level", c.logLevel)
	}
	if c.loops < -1 || c.loops > maxLoops {
		fault("-loops: choose 0 to %d", maxLoops)
	}
	if c.timeout <= 0 || c.staleReads <= 0 {
		fault("-timeout and -stale-reads must be above zero")
	}
	return errors.Join(errs...)
}

// clientTLS is the configuration of the listeners for clients and browsers; nil without TLS. Clients need no certificate; one that they
// show must be valid.
func (c *config) clientTLS() (*tls.Config, error) {
	if c.tlsCert == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.tlsCA)
	if err != nil {
		return nil, fmt.Errorf("-tls-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("-tls-ca: no certificate in %s", c.tlsCA)
	}
	if _, err := tls.LoadX509KeyPair(c.tlsCert, c.tlsKey); err != nil {
		return nil, fmt.Errorf("-tls-cert: %w", err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ClientCAs:  pool,
		ClientAuth: tls.VerifyClientCertIfGiven,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { // read anew: it may have been renewed
			cert, err := tls.LoadX509KeyPair(c.tlsCert, c.tlsKey)
			return &cert, err
		},
	}, nil
}
