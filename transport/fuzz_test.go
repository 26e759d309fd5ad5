package transport

import (
	"bufio"
	"bytes"
	"reflect"
	"testing"
	"time"
)

// Whatever a dialler says, reading it fails or gives a hello that says the same when it is written again.
func FuzzHello(f *testing.F) {
	h := hello{oldest: 1, newest: 3, maxFrame: 1 << 20, idle: 5 * time.Second, cluster: "c", node: "a", addr: "h:1", want: "b", proto: "p"}
	f.Add(h.encode()[handshakeHeader:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, payload []byte) {
		h, err := decodeHello(payload)
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
	f.Fuzz(func(t *testing.T, payload []byte) {
		a, err := decodeAnswer(payload)
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
	f.Fuzz(func(t *testing.T, b []byte) {
		payload, err := readHandshake(bytes.NewReader(b))
		if err == nil && len(payload) > maxHandshake {
			t.Errorf("%d bytes", len(payload))
		}
	})
}

// A stream of any bytes decodes to frames that encode to the same bytes again, up to the first fault.
func FuzzFrames(f *testing.F) {
	f.Add(encodeFrame(kindData, []byte("head"), []byte("body")))
	f.Add(append(encodeFrame(kindHeartbeat, nil, nil), encodeFrame(kindReset, []byte("why"), nil)...))
	f.Add(encodeFrame(kindData, make([]byte, smallPart+1), make([]byte, smallPart+1)))
	f.Add(encodeFrame(kindCloseWrite, nil, nil)[:frameHeader-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		fr := frameReader{r: bufio.NewReaderSize(bytes.NewReader(b), 64), max: 1 << 16, pools: new(pools)}
		defer fr.close()
		var again []byte
		for {
			kind, frame, err := fr.next()
			if err != nil {
				break
			}
			if frame.Len() > 1<<16 {
				t.Fatalf("a frame of %d bytes", frame.Len())
			}
			again = append(again, encodeFrame(kind, frame.Head, frame.Body)...)
			frame.Release()
		}
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
			w.add(kindData, head, body)
		}
		w.flush(&wire)
		fr := frameReader{r: bufio.NewReader(&wire), max: 1 << 30, pools: new(pools)}
		defer fr.close()
		for range n {
			kind, frame, err := fr.next()
			if err != nil || kind != kindData || !bytes.Equal(frame.Head, head) || !bytes.Equal(frame.Body, body) {
				t.Fatalf("kind %d, head %x, body of %d, %v", kind, frame.Head, len(frame.Body), err)
			}
			frame.Release()
		}
	})
}
