package main

import (
	"io"
	"net"
	"testing"
)

func TestAnswers(t *testing.T) {
	here, there := net.Pipe()
	go serve(there)
	defer here.Close()
	for sent, want := range map[string]string{
		"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n":                        string(value),
		"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n*3\r\n$3\r\n": "+OK\r\n+OK\r\n",
	} {
		if _, err := io.WriteString(here, sent); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(here, got); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", sent, got, err)
		}
	}
}
