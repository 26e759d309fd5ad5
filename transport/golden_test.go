package transport

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// golden is the bytes of a file in testdata: hexadecimal, with comments. What a released version has sent is in there for ever,
// and is read for ever; it is never written again.
func golden(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	var digits strings.Builder
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return b
}

var (
	goldenHello = hello{
		oldest: 1, newest: 1, maxFrame: 1 << 20, idle: time.Minute,
		cluster: "prod", node: "a", addr: "10.0.0.1:7000", want: "b", proto: "test",
	}
	goldenAnswer = answer{version: 1, maxFrame: 1 << 16, idle: 30 * time.Second, node: "b"}
)

func TestGoldenHandshake(t *testing.T) {
	for name, change := range map[string]func(h *hello){
		"hello":         func(*hello) {},
		"hello-newer":   func(h *hello) { h.newest = 2 },
		"hello-too-new": func(h *hello) { h.oldest, h.newest = 2, 3 },
	} {
		want := goldenHello
		change(&want)
		payload, err := readHandshake(bytes.NewReader(golden(t, "v1/"+name)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if h, err := decodeHello(payload); err != nil || h != want {
			t.Errorf("%s is %+v, %v; want %+v", name, h, err, want)
		}
		// As long as version 1 is spoken, it is spoken like this; what a later release adds comes behind.
		if b := want.encode()[handshakeHeader:]; !bytes.HasPrefix(payload, b) || name != "hello-newer" && len(b) != len(payload) {
			t.Errorf("%s is written as %x", name, b)
		}
	}
	if a := readAnswer(t, bytes.NewReader(golden(t, "v1/answer"))); a != goldenAnswer {
		t.Errorf("answer is %+v, want %+v", a, goldenAnswer)
	}
	if b := goldenHello.encode(); !bytes.Equal(b, golden(t, "v1/hello")) {
		t.Errorf("hello is written as %x", b)
	}
	if b := goldenAnswer.encode(); !bytes.Equal(b, golden(t, "v1/answer")) {
		t.Errorf("answer is written as %x", b)
	}
}

func TestGoldenFrames(t *testing.T) {
	type frame struct {
		kind       frameKind
		head, body string
	}
	for name, want := range map[string][]frame{
		"frames": {{kindData, "head", "body"}, {kindData, "", ""}, {kindHeartbeat, "", ""}, {kindData, "", "only a body"}, {kindCloseWrite, "", ""}},
		"reset":  {{kindData, "head", ""}, {kindReset, "why", ""}},
	} {
		b := golden(t, "v1/"+name)
		fr := frameReader{r: bufio.NewReader(bytes.NewReader(b)), max: 1 << 16, pools: new(pools)}
		defer fr.close()
		var again bytes.Buffer
		var w frameWriter
		for i, f := range want {
			kind, got, err := fr.next()
			if err != nil || kind != f.kind || string(got.Head) != f.head || string(got.Body) != f.body {
				t.Errorf("%s: frame %d is kind %d, %q, %q, %v", name, i, kind, got.Head, got.Body, err)
			}
			w.add(f.kind, &Frame{Head: []byte(f.head), Body: []byte(f.body)})
		}
		if _, _, err := fr.next(); err != io.EOF {
			t.Errorf("%s: after the last frame: %v", name, err)
		}
		if w.flush(&again); !bytes.Equal(again.Bytes(), b) {
			t.Errorf("%s is written as %x", name, again.Bytes())
		}
	}
}

// A node of any release that speaks version 1 understands the stream of one that was recorded, and answers it with the
// recorded bytes.
func TestGoldenStream(t *testing.T) {
	for name, versions := range map[string][2]uint16{"the same release": {1, 1}, "the next release": {1, 2}} {
		for _, greeting := range []string{"hello", "hello-newer"} {
			if greeting == "hello-newer" && versions[1] > 1 {
				continue // these two speak version 2 to each other
			}
			t.Run(name+" hears "+greeting, func(t *testing.T) {
				b := listenAs(t, TCPOptions{NodeID: "b", ClusterID: "prod", MaxFrame: 1 << 16, IdleTimeout: 30 * time.Second, Heartbeat: 15 * time.Second}, versions)
				b.Handle("test", func(s Stream) {
					if p := s.Peer(); p.ID != "a" || p.Addr != "10.0.0.1:7000" {
						t.Errorf("peer %+v", p)
					}
					for {
						f, err := s.Recv(context.Background())
						if err != nil {
							s.CloseWrite()
							return
						}
						s.Send(context.Background(), f)
					}
				})
				c := stranger(t, b)
				c.Write(golden(t, "v1/"+greeting))
				want := golden(t, "v1/answer")
				got := make([]byte, len(want))
				if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("answer %x, %v", got, err)
				}
				c.Write(golden(t, "v1/frames"))
				echo, err := io.ReadAll(c)
				if err != nil {
					t.Fatal(err)
				}
				beat := encodeFrame(kindHeartbeat, nil, nil) // the handler sends none back
				if want := bytes.Replace(golden(t, "v1/frames"), beat, nil, 1); !bytes.Equal(echo, want) {
					t.Errorf("the echo is %x, want %x", echo, want)
				}
			})
		}
	}
}

// Releases in a row form one cluster, whoever dials; releases further apart say why they do not.
func TestVersionsMeet(t *testing.T) {
	for _, c := range []struct {
		name         string
		older, newer [2]uint16
		chosen       uint16 // 0 for none
	}{
		{"same", [2]uint16{1, 1}, [2]uint16{1, 1}, 1},
		{"N-1 and N", [2]uint16{1, 1}, [2]uint16{1, 2}, 1},
		{"N and N+1", [2]uint16{1, 2}, [2]uint16{2, 3}, 2},
		{"N-1 and N+1", [2]uint16{1, 1}, [2]uint16{2, 3}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			older, newer := listenAs(t, TCPOptions{NodeID: "older"}, c.older), listenAs(t, TCPOptions{NodeID: "newer"}, c.newer)
			for _, ends := range [][2]*tcpTransport{{older, newer}, {newer, older}} {
				from, to := ends[0], ends[1]
				to.Handle("test", func(s Stream) { s.Recv(context.Background()) })
				h := hello{oldest: from.versions[0], newest: from.versions[1], node: "x", proto: "test"}
				if code, chosen, err := to.judge(h, nil); chosen != c.chosen || (code == answerOK) != (c.chosen != 0) {
					t.Errorf("%s answers %s with version %d, %v; want %d", to.o.NodeID, from.o.NodeID, chosen, err, c.chosen)
				} else if err == nil {
					to.leave("x")
				}
				s, err := from.Dial(t.Context(), Peer{ID: to.o.NodeID, Addr: to.Addr()}, "test")
				switch {
				case c.chosen != 0 && err != nil:
					t.Errorf("%s dials %s: %v", from.o.NodeID, to.o.NodeID, err)
				case c.chosen != 0:
					s.Close()
				case !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "speaks 1 to 1") || !strings.Contains(err.Error(), "speaks 2 to 3"):
					t.Errorf("%s dials %s: %v", from.o.NodeID, to.o.NodeID, err)
				}
			}
		})
	}
}
