package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hessonite/kv/cluster"
)

// TCPOptions describe a TCP transport. Only NodeID is required; a zero field has the default that is named with it. The two
// ends of a stream may differ in everything but the cluster: what has to be common is settled when they meet.
type TCPOptions struct {
	// NodeID is who answers here. 1 to 255 bytes.
	NodeID cluster.NodeID
	// ClusterID keeps clusters apart that can reach each other: ends that name different ones refuse each other
	// (ErrWrongCluster). Up to 255 bytes; "" is a name like any other.
	ClusterID string
	// Advertise is the host:port that others dial. Default: the address that is listened on, which must then name a host.
	Advertise string

	// TLS makes every connection TLS 1.3 (or what its MinVersion asks for), with this configuration at both ends: as a server and
	// as a client. It is copied when the transport is made. A peer's certificate must name its cluster and node: see NodeURI, and
	// the package's documentation for the rules; that it bears a name of the host is verified only if ServerName is set. Set
	// ClientAuth to tls.RequireAndVerifyClientCert with ClientCAs, and RootCAs, so that both ends are certain of each
	// other. A dial that asks for no ID takes any node that the authority certifies. For certificates that change while the node
	// runs use TLSFiles, or GetCertificate and GetClientCertificate. Default: no encryption, which is warned of in the log
	// unless the address is loopback.
	TLS *tls.Config
	// TLSFiles makes every connection mutual TLS 1.3 with certificates from files, which are read anew when they change. Set it or
	// TLS. Default: none.
	TLSFiles TLSFiles

	// MaxFrame is the most bytes of a frame, head and body together, that are sent or accepted. Of two ends the smaller
	// holds. Default: DefaultMaxFrame.
	MaxFrame int
	// QueueBytes and QueueFrames limit what each direction of a stream holds in memory at this end, beside one frame
	// that is on its way to or from the socket. Defaults: DefaultQueueBytes, DefaultQueueFrames.
	QueueBytes, QueueFrames int
	// MaxConns is the most streams that peers may have open to this node, and MaxPeerConns the most of one peer. Without TLS
	// a peer is who it says it is. Defaults: 4096, and a quarter of MaxConns, but at least one.
	MaxConns, MaxPeerConns int
	// MaxHandshakes is the most connections that may be in the handshake: it bounds what strangers cost, a goroutine and some 50 KiB
	// each, or half a MiB for one that sends TLS messages of the largest size. If there are more, the oldest of the host
	// that has the most give way. Default: 128.
	MaxHandshakes int

	// HandshakeTimeout bounds the opening of a stream at both ends, from the connection to the answer, however
	// busily the other end sends. Default: DefaultHandshakeTimeout.
	HandshakeTimeout time.Duration
	// Heartbeat is how long this end is silent before it sends a sign of life; it does so at least three times in the
	// peer's IdleTimeout. Default: DefaultHeartbeat.
	Heartbeat time.Duration
	// IdleTimeout is how long the peer may be silent before the stream breaks. Default: DefaultIdleTimeout.
	IdleTimeout time.Duration

	// Logger hears of refused strangers (a line for each reason in ten seconds, with the number of those left out), of failures to
	// accept, of certificates that were read anew, and of a lack of TLS. Default: silent.
	Logger hclog.Logger
}

// Validate reports everything that is wrong with the options, joined.
func (o *TCPOptions) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if n := len(o.NodeID); n == 0 || n > maxHandshakeName {
		bad("NodeID has %d bytes: give it 1 to %d", n, maxHandshakeName)
	}
	if n := len(o.ClusterID); n > maxHandshakeName {
		bad("ClusterID has %d bytes: at most %d", n, maxHandshakeName)
	}
	if o.Advertise != "" {
		if err := dialable(o.Advertise); err != nil {
			bad("Advertise: %w", err)
		}
	}
	if o.TLS != nil && o.TLSFiles != (TLSFiles{}) {
		bad("TLS and TLSFiles are both set: set one of them")
	}
	if f := o.TLSFiles; f != (TLSFiles{}) && (f.CertFile == "" || f.KeyFile == "" || f.CAFile == "") {
		bad("TLSFiles needs CertFile, KeyFile and CAFile: it is %+v", f)
	}
	if int64(o.MaxFrame) > math.MaxInt32 {
		bad("MaxFrame is %d: at most %d", o.MaxFrame, math.MaxInt32)
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"MaxFrame", int64(o.MaxFrame)}, {"QueueBytes", int64(o.QueueBytes)}, {"QueueFrames", int64(o.QueueFrames)},
		{"MaxConns", int64(o.MaxConns)}, {"MaxPeerConns", int64(o.MaxPeerConns)}, {"MaxHandshakes", int64(o.MaxHandshakes)},
		{"HandshakeTimeout", int64(o.HandshakeTimeout)}, {"Heartbeat", int64(o.Heartbeat)}, {"IdleTimeout", int64(o.IdleTimeout)},
	} {
		if f.value < 0 {
			bad("%s is negative: leave it zero for the default", f.name)
		}
	}
	if full := o.withDefaults(); full.IdleTimeout < 3*minBeat || full.Heartbeat > full.IdleTimeout/2 {
		bad("Heartbeat %v and IdleTimeout %v: an idle time-out is at least %v and two heartbeats", full.Heartbeat, full.IdleTimeout, 3*minBeat)
	}
	return errors.Join(errs...)
}

// withDefaults returns a copy in which nothing is left to a default.
func (o *TCPOptions) withDefaults() TCPOptions {
	full := *o
	full.MaxFrame = orDefault(o.MaxFrame, DefaultMaxFrame)
	full.QueueBytes = orDefault(o.QueueBytes, DefaultQueueBytes)
	full.QueueFrames = orDefault(o.QueueFrames, DefaultQueueFrames)
	full.MaxConns = orDefault(o.MaxConns, 4096)
	full.MaxPeerConns = orDefault(o.MaxPeerConns, max(full.MaxConns/4, 1))
	full.MaxHandshakes = orDefault(o.MaxHandshakes, 128)
	full.HandshakeTimeout = orDefault(o.HandshakeTimeout, DefaultHandshakeTimeout)
	full.IdleTimeout = orDefault(o.IdleTimeout, DefaultIdleTimeout)
	full.Heartbeat = orDefault(o.Heartbeat, min(DefaultHeartbeat, full.IdleTimeout/3))
	if full.Logger == nil {
		full.Logger = hclog.NewNullLogger()
	}
	return full
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// dialable reports why others could not dial addr.
func dialable(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || port == "0" || (ip != nil && ip.IsUnspecified()) {
		return fmt.Errorf("%q is no address that others can dial: set Advertise to a host and a port", addr)
	}
	if len(addr) > maxHandshakeName {
		return fmt.Errorf("address of %d bytes: at most %d", len(addr), maxHandshakeName)
	}
	return nil
}
