package main

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"os"
)

var value = []byte("$100\r\n" + string(bytes.Repeat([]byte("x"), 100)) + "\r\n")

func main() {
	listen := flag.String("listen", "127.0.0.1:7001", "address for clients")
	flag.Parse()
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, "yardstick:", err)
		os.Exit(1)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "yardstick:", err)
			os.Exit(1)
		}
		go serve(conn)
	}
}

func serve(conn net.Conn) {
	defer conn.Close()
	in, out := make([]byte, 64<<10), []byte(nil)
	for {
		n, err := conn.Read(in)
		if err != nil {
			return
		}
		out = answer(out[:0], in[:n])
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

// answer counts requests by their first lines: of a pipeline all are of one kind.
func answer(out, in []byte) []byte {
	for range bytes.Count(in, []byte("*2\r\n")) {
		out = append(out, value...)
	}
	for range bytes.Count(in, []byte("*3\r\n")) {
		out = append(out, "+OK\r\n"...)
	}
	return out
}
