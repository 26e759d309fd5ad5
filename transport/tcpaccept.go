package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hessonite/kv/cluster"
)

// This file is the accepting end. Anybody can connect: until a dialler has said who it is, and proved it where there is TLS, it costs
// no more than its place at the gate, for no longer than HandshakeTimeout.

// acceptLoop takes connections until the listener is closed.
func (t *tcpTransport) acceptLoop() {
	var failures logLimit
	for {
		raw, err := t.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			if !t.pause(err, &failures) {
				return
			}
			continue
		}
		raw.SetDeadline(time.Now().Add(t.o.HandshakeTimeout))
		e := t.gate.enter(raw)
		select {
		case t.slots <- struct{}{}: // at once, or when the one that had to go has gone
		case <-t.ctx.Done():
			raw.Close()
			return
		}
		t.count.handshakes.Add(1)
		t.running.Go(func() { t.receive(e) })
	}
}

// pause waits after a failure to accept: out of file descriptors, most likely. It passes, but not at once. It reports false when
// the transport is closed.
func (t *tcpTransport) pause(err error, limit *logLimit) bool {
	t.count.acceptFailed.Add(1)
	if more, ok := limit.allow(); ok {
		t.o.Logger.Error("cannot accept connections", "addr", t.addr, "error", err, "more", more)
	}
	select {
	case <-time.After(50 * time.Millisecond):
		return true
	case <-t.ctx.Done():
		return false
	}
}

// receive takes a connection in, or closes it.
func (t *tcpTransport) receive(e *entrant) {
	err := t.admit(e)
	refused := err != nil && t.ctx.Err() == nil
	var reason Refusal
	if err != nil {
		if reason = refusalReason(err); !t.gate.pass(e) {
			reason = RefusedCrowded
		}
		if refused {
			t.count.refused[reason].Add(1) // before the stranger can see it
		}
		e.raw.Close()
	}
	t.count.handshakes.Add(-1)
	<-t.slots
	if refused {
		t.refusals.log(t.o.Logger, e.raw.RemoteAddr(), reason, err)
	}
}

// admit does the accepting end's part of the handshake and starts the handler.
func (t *tcpTransport) admit(e *entrant) error {
	interrupted := context.AfterFunc(t.ctx, func() { e.raw.SetDeadline(time.Unix(1, 0)) })
	s, err := t.greet(e)
	stopped := interrupted()
	if err != nil {
		return err
	}
	if !stopped {
		t.leave(s.peer.ID)
		return ErrClosed
	}
	e.raw.SetDeadline(time.Time{})
	if !s.start(true) {
		t.leave(s.peer.ID)
		return ErrClosed
	}
	t.count.accepted.Add(1)
	if !t.handlers.start(s.proto, s) {
		s.Close() // the handler was taken away a moment ago
	}
	return nil
}

// greet reads the hello and answers it. An error says why the stranger was refused.
func (t *tcpTransport) greet(e *entrant) (*tcpStream, error) {
	conn, err := t.secureServer(e.raw)
	if err != nil {
		return nil, err
	}
	s := t.newStream(e.raw, conn, "")
	payload, err := readHandshake(s.reader.r)
	if err != nil {
		if errors.Is(err, errSpeaksTLS) {
			turnAway(conn, err)
		}
		return nil, t.greetingError(err)
	}
	a := answer{maxFrame: uint32(t.o.MaxFrame), idle: t.o.IdleTimeout, node: t.o.NodeID}
	h, refusal := decodeHello(payload)
	if refusal != nil {
		a.code = answerInvalid
	} else {
		a.code, a.version, refusal = t.judge(h, conn)
	}
	if refusal == nil && !t.gate.pass(e) {
		t.leave(h.node)
		return nil, errCrowded
	}
	if refusal != nil {
		a.text = refusal.Error()
	}
	_, err = conn.Write(a.encode())
	if refusal != nil {
		return nil, refusal
	}
	if err != nil {
		t.leave(h.node)
		return nil, err
	}
	s.proto = h.proto
	s.settle(Peer{ID: h.node, Addr: h.addr}, h.maxFrame, h.idle)
	return s, nil
}

// turnAway tells a dialler, before it is known, that it and this end do not agree about TLS: the mistake of an operator, most
// likely. It learns nothing else.
func turnAway(raw net.Conn, why error) {
	a := answer{code: answerInvalid, text: why.Error()}
	raw.Write(a.encode())
}

// errCrowded is what happens to one that was let in when the gate had already put it out.
var errCrowded = errors.New("it gave way to a newer connection: raise MaxHandshakes if it was no stranger")

// greetingError gives a reason to what came in place of a hello. After a TLS handshake with mutual authentication the
// first read is also where a dialler hears that its certificate was refused, and where its alert is heard here.
func (t *tcpTransport) greetingError(err error) error {
	switch {
	case errors.Is(err, errSpeaksTLS):
		return refuse(RefusedTLS, err)
	case errors.Is(err, errForeign):
		return refuse(RefusedForeign, err)
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrTooLarge):
		return refuse(RefusedMalformed, err)
	}
	if remote := (*net.OpError)(nil); t.tls != nil && errors.As(err, &remote) && remote.Op == "remote error" {
		return refuse(RefusedTLS, err)
	}
	return err
}

// judge decides whether a hello is welcome. If it is, the stream has entered.
func (t *tcpTransport) judge(h hello, conn net.Conn) (answerCode, uint16, error) {
	version, common := chooseVersion(t.versions[0], t.versions[1], h)
	switch {
	case !common:
		return answerVersion, 0, refuse(RefusedVersion, fmt.Errorf("%w: %q speaks %d to %d, %q speaks %d to %d",
			ErrVersion, h.node, h.oldest, h.newest, t.o.NodeID, t.versions[0], t.versions[1]))
	case h.cluster != t.o.ClusterID:
		return answerWrongCluster, 0, refuse(RefusedWrongCluster, fmt.Errorf("%w: %q is of %q, %q of %q",
			ErrWrongCluster, h.node, h.cluster, t.o.NodeID, t.o.ClusterID))
	case h.want != "" && h.want != t.o.NodeID:
		return answerWrongPeer, 0, refuse(RefusedWrongPeer, fmt.Errorf("%w: %q asked for %q, this is %q", ErrWrongPeer, h.node, h.want, t.o.NodeID))
	}
	if err := t.identify(conn, h.node); err != nil {
		if errors.Is(err, ErrWrongCluster) {
			return answerWrongCluster, 0, refuse(RefusedWrongCluster, err)
		}
		return answerWrongPeer, 0, refuse(RefusedWrongPeer, err)
	}
	if !t.handlers.serves(h.proto) {
		return answerNoHandler, 0, refuse(RefusedNoHandler, fmt.Errorf("%w: %q, asked for by %q", ErrNoHandler, h.proto, h.node))
	}
	if err := t.enter(h.node); err != nil {
		return answerBusy, 0, refuse(RefusedFull, err)
	}
	return answerOK, version, nil
}

// enter counts a stream that a peer opens, if there is room for it; leave takes it back.
func (t *tcpTransport) enter(id cluster.NodeID) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.inbound >= t.o.MaxConns:
		return fmt.Errorf("%d streams are open: raise MaxConns", t.inbound)
	case t.peers[id] >= t.o.MaxPeerConns:
		return fmt.Errorf("%q has %d streams open: raise MaxPeerConns", id, t.peers[id])
	}
	t.inbound++
	t.peers[id]++
	return nil
}

func (t *tcpTransport) leave(id cluster.NodeID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inbound--
	if t.peers[id]--; t.peers[id] <= 0 {
		delete(t.peers, id)
	}
}
