package transport

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"net/url"
	"reflect"
	"testing"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/alloc"
)

// frugal fails if reading allocates more than a small multiple of the bytes that are there, beside a first step, whatever lengths
// the bytes announce.
func frugal(t *testing.T, size, step int, read func()) {
	t.Helper()
	if got, limit := alloc.Bytes(read), uint64(16*size+step+alloc.Slack); got > limit {
		t.Fatalf("%d bytes were allocated for %d that came, %d are the most", got, size, limit)
	}
}

// addGolden seeds a target with what released versions have sent, less the first skip bytes.
func addGolden(f *testing.F, skip int, files ...string) {
	for _, name := range files {
		f.Add(golden(f, name)[skip:])
	}
}

// Whatever a dialler says, reading it fails or gives a hello that says the same when it is written again.
func FuzzHello(f *testing.F) {
	h := hello{oldest: 1, newest: 3, maxFrame: 1 << 20, idle: 5 * time.Second, cluster: "c", node: "a", addr: "h:1", want: "b", proto: "p"}
	f.Add(h.encode()[handshakeHeader:])
	f.Add([]byte{})
	addGolden(f, handshakeHeader, "v1/hello", "v1/hello-newer", "v1/hello-too-new")
	f.Fuzz(func(t *testing.T, payload []byte) {
		var h hello
		var err error
		frugal(t, len(payload), 4096, func() { h, err = decodeHello(payload) })
		if err != nil {
			return
		}
		again, err := decodeHello(h.encode()[handshakeHeader:])
		if err != nil || !reflect.DeepEqual(h, again) {
			t.Errorf("%+v became %+v, %v", h, again, err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	a := answer{code: answerVersion, version: 1, maxFrame: 1 << 20, idle: 5 * time.Second, node: "b", text: "why"}
	f.Add(a.encode()[handshakeHeader:])
	f.Add([]byte{})
	addGolden(f, handshakeHeader, "v1/answer")
	f.Fuzz(func(t *testing.T, payload []byte) {
		var a answer
		var err error
		frugal(t, len(payload), 4096, func() { a, err = decodeAnswer(payload) })
		if err != nil {
			return
		}
		again, err := decodeAnswer(a.encode()[handshakeHeader:])
		if err != nil || !reflect.DeepEqual(a, again) {
			t.Errorf("%+v became %+v, %v", a, again, err)
		}
	})
}

// The envelope: any bytes, no panic, and nothing allocated beyond the limit.
func FuzzHandshake(f *testing.F) {
	f.Add((&hello{oldest: 1, newest: 1, node: "a", proto: "p"}).encode())
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte(handshakeMagic + "\xff\xff\x00\x00\x00\x00"))
	f.Add([]byte("\x16\x03\x01\x00"))
	addGolden(f, 0, "v1/hello", "v1/hello-newer", "v1/answer")
	f.Fuzz(func(t *testing.T, b []byte) {
		var payload []byte
		var err error
		frugal(t, 0, 4*maxHandshake, func() { payload, err = readHandshake(bytes.NewReader(b)) })
		if err != nil {
			return
		}
		again := seal(append(make([]byte, handshakeHeader), payload...))
		if len(payload) > maxHandshake || !bytes.HasPrefix(b, again) {
			t.Errorf("%x holds %x", b, payload)
		}
	})
}

// A stream of any bytes decodes to frames that encode to the same bytes again, up to the first fault.
func FuzzFrames(f *testing.F) {
	f.Add(encodeFrame(kindData, []byte("head"), []byte("body")))
	f.Add(append(encodeFrame(kindHeartbeat, nil, nil), encodeFrame(kindReset, []byte("why"), nil)...))
	f.Add(encodeFrame(kindData, make([]byte, smallPart+1), make([]byte, smallPart+1)))
	f.Add(encodeFrame(kindCloseWrite, nil, nil)[:frameHeader-1])
	liar := encodeFrame(kindData, nil, nil)
	binary.BigEndian.PutUint32(liar[4:], 1<<30)
	putHeaderChecksum(liar)
	f.Add(liar)
	addGolden(f, 0, "v1/frames", "v1/reset")
	f.Fuzz(func(t *testing.T, b []byte) {
		fr := frameReader{r: bufio.NewReaderSize(bytes.NewReader(b), 64), max: 1 << 30, pools: new(pools)}
		defer fr.close()
		var again []byte
		read := func() {
			for {
				kind, frame, err := fr.next()
				if err == nil && frame.verifiedLate() {
					err = frame.verify() // as Recv does
				}
				if err != nil {
					return
				}
				again = append(again, encodeFrame(kind, frame.Head, frame.Body)...)
				frame.Release()
			}
		}
		frugal(t, len(b), largeStep+2*chunkSize, read)
		if !bytes.HasPrefix(b, again) {
			t.Errorf("%x decodes to %x", b, again)
		}
	})
}

// What the writer gathers, the reader takes apart.
func FuzzFrameRoundTrip(f *testing.F) {
	f.Add([]byte("head"), []byte("body"), uint16(3), uint16(0))
	f.Add([]byte{}, []byte{}, uint16(100), uint16(5000))
	f.Fuzz(func(t *testing.T, head, body []byte, copies, pad uint16) {
		var wire bytes.Buffer
		var w frameWriter
		body = append(body, make([]byte, pad)...)
		n := int(copies%64) + 1
		for range n {
			if !w.room() {
				w.flush(&wire)
			}
			w.add(kindData, &Frame{Head: head, Body: body})
		}
		w.flush(&wire)
		fr := frameReader{r: bufio.NewReader(&wire), max: 1 << 30, pools: new(pools)}
		defer fr.close()
		for range n {
			kind, frame, err := fr.next()
			if err == nil {
				err = frame.verify()
			}
			if err != nil || kind != kindData || !bytes.Equal(frame.Head, head) || !bytes.Equal(frame.Body, body) {
				t.Fatalf("kind %d, head %x, body of %d, %v", kind, frame.Head, len(frame.Body), err)
			}
			frame.Release()
		}
	})
}

// Any node of any cluster has a name that fits into a certificate and is read as it was meant.
func FuzzNodeURI(f *testing.F) {
	f.Add("prod", "n1")
	f.Add("", "n/1")
	f.Add("a@b:80", "..")
	f.Add("\xff\x00", "%2F")
	f.Fuzz(func(t *testing.T, clusterID, node string) {
		text := NodeURI(clusterID, cluster.NodeID(node)).String()
		for i := range len(text) {
			if text[i] <= ' ' || text[i] > '~' {
				t.Fatalf("%q cannot stand in a certificate", text)
			}
		}
		u, err := url.Parse(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		c, id, ok := parseNodeURI(u)
		if ok != (node != "") || ok && (c != clusterID || string(id) != node) {
			t.Errorf("%q of %q became %q of %q, %v", node, clusterID, id, c, ok)
		}
	})
}

// Whatever stands in a certificate, reading it fails or gives a node whose name leads back to it.
func FuzzParseNodeURI(f *testing.F) {
	for _, s := range []string{"hessonite://prod/n1", "hessonite:///a%2Fb/n%201", "hessonite:////n1", "https://prod/n1", "hessonite:prod/n1",
		"hessonite://u@prod:80/n1?q#f", "HESSONITE://prod/n1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.Parse(s)
		if err != nil {
			return
		}
		c, id, ok := parseNodeURI(u)
		if !ok {
			return
		}
		again, err := url.Parse(NodeURI(c, id).String())
		if err != nil {
			t.Fatalf("%q of %q: %v", id, c, err)
		}
		if c2, id2, ok := parseNodeURI(again); !ok || c2 != c || id2 != id {
			t.Errorf("%q names %q of %q, then %q of %q, %v", s, id, c, id2, c2, ok)
		}
	})
}
