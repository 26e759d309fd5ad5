package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/go-hclog"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program, until ctx ends: it returns the exit status. 1: it failed; 2: wrong use.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	if len(args) > 0 && args[0] == "status" {
		return watch(ctx, args[1:], out, errs)
	}
	cfg, err := parseFlags(args, errs)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(errs, "redisserver:", err)
		return 2
	}
	log := hclog.New(&hclog.LoggerOptions{Name: "redisserver", Level: hclog.LevelFromString(cfg.logLevel), Output: errs})
	if err := serve(ctx, cfg, log, out); err != nil {
		fmt.Fprintln(errs, "redisserver:", err)
		return 1
	}
	return 0
}

// serve is a server from its opening to its end, which comes with ctx.
func serve(ctx context.Context, cfg config, log hclog.Logger, out io.Writer) error {
	s, err := open(ctx, cfg, log)
	if err != nil {
		if ctx.Err() != nil { // told to end before it was up
			return nil
		}
		return err
	}
	line := fmt.Sprintf("ready id=%s listen=%s peer=%s", s.node.Status().ID, s.clients.Addr(), s.peerAddress())
	if s.web != nil {
		line += fmt.Sprintf(" http=%s", s.web.Addr())
	}
	fmt.Fprintln(out, line)
	err = s.serve(ctx)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	return errors.Join(err, s.close(end))
}
