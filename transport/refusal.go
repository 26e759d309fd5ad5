package transport

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Refusal is a reason for which a connection was not taken in.
type Refusal uint8

// Why connections are refused. New reasons are added at the end.
const (
	// RefusedCrowded: it gave way to a newer one, since MaxHandshakes connections were in the handshake.
	RefusedCrowded Refusal = iota
	// RefusedSlow: it was not through within HandshakeTimeout.
	RefusedSlow
	// RefusedLeft: the dialler hung up, or the connection broke.
	RefusedLeft
	// RefusedForeign: it speaks another protocol, such as HTTP, or none.
	RefusedForeign
	// RefusedPlaintext: what came is no TLS, which this end speaks.
	RefusedPlaintext
	// RefusedTLS: the TLS handshake failed, or TLS came where this end speaks none.
	RefusedTLS
	// RefusedCertificate: the dialler showed no certificate, or one that is not valid now, or of another authority.
	RefusedCertificate
	// RefusedMalformed: the hello was damaged or makes no sense.
	RefusedMalformed
	// RefusedVersion: no protocol version in common.
	RefusedVersion
	// RefusedWrongCluster: the dialler, or its certificate, is of another cluster.
	RefusedWrongCluster
	// RefusedWrongPeer: the dialler takes this node for another, or its certificate names another.
	RefusedWrongPeer
	// RefusedNoHandler: nobody serves that protocol here (now).
	RefusedNoHandler
	// RefusedFull: MaxConns or MaxPeerConns streams are open.
	RefusedFull

	// RefusalReasons is how many reasons there are.
	RefusalReasons = iota
)

// String is the name of the reason, the same for ever: for logs and metrics.
func (r Refusal) String() string {
	names := [RefusalReasons]string{"crowded", "slow", "left", "foreign", "plaintext", "tls", "certificate", "malformed", "version",
		"wrong cluster", "wrong peer", "no handler", "full"}
	if int(r) < len(names) {
		return names[r]
	}
	return "unknown"
}

// refusedError is an error with its reason.
type refusedError struct {
	reason Refusal
	error
}

// Unwrap makes the cause visible to errors.Is.
func (e *refusedError) Unwrap() error { return e.error }

// refuse gives an error a reason.
func refuse(r Refusal, err error) error { return &refusedError{reason: r, error: err} }

// refusalReason tells why admission failed. A connection that is slow or gone fails wherever it was just then.
func refusalReason(err error) Refusal {
	var typed *refusedError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return RefusedSlow
	case connectionLost(err):
		return RefusedLeft
	case errors.As(err, &typed):
		return typed.reason
	}
	return RefusedMalformed
}

// connectionLost reports whether err is the end of a connection, by whatever means.
func connectionLost(err error) bool {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE, syscall.ETIMEDOUT} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// refusalLogEvery is how often each reason may make a line in the log.
const refusalLogEvery = 10 * time.Second

// refusalLog writes one line for each reason every refusalLogEvery, so that strangers cannot fill the disk.
type refusalLog struct {
	mu     sync.Mutex
	limits [RefusalReasons]logLimit
}

func (l *refusalLog) log(to hclog.Logger, from net.Addr, reason Refusal, why error) {
	l.mu.Lock()
	more, ok := l.limits[reason].allow()
	l.mu.Unlock()
	if ok {
		to.Warn("refused a connection", "from", from, "reason", reason, "error", why, "more", more)
	}
}

// logLimit lets a line pass once every refusalLogEvery.
type logLimit struct {
	last       time.Time
	suppressed int
}

// allow reports whether a line may be written, and how many were not since the last.
func (l *logLimit) allow() (suppressed int, ok bool) {
	now := time.Now()
	if !l.last.IsZero() && now.Sub(l.last) < refusalLogEvery {
		l.suppressed++
		return 0, false
	}
	suppressed = l.suppressed
	l.last, l.suppressed = now, 0
	return suppressed, true
}
