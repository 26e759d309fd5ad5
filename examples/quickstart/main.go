package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

func main() {
	var c config
	flag.BoolVar(&c.inProcess, "in-process", false, "connect the nodes by the in-process network instead of TCP")
	flag.Int64Var(&c.rate, "sync-rate", 0, "bytes a second that a sync may take, to watch it; 0: no limit")
	flag.StringVar(&c.dir, "dir", "", "keep the nodes' data on disk, in n1, n2 and n3 below this directory, which is empty or of an earlier run (default: in memory)")
	flag.StringVar(&c.src, "src", "", "the files to load (default: the sources of Go's standard library)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, c); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}
