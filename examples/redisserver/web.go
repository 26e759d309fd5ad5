package main

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/hessonite/kv"
	"github.com/hessonite/kv/kvhttp"
	"github.com/hessonite/kv/kvprom"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// serveWeb serves the status page, health checks and metrics until ctx ends.
func (s *server) serveWeb(ctx context.Context) error {
	web := &http.Server{Handler: s.pages, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: time.Minute, IdleTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- web.Serve(s.web) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := web.Shutdown(end); err != nil {
		web.Close()
	}
	<-done
	return nil
}

// pages is what -http serves, without a password: it only reads, and shows no key and no value.
func pages(n *kv.Node) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(kvprom.New(n), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	health := kvhttp.Health(n)
	mux := http.NewServeMux()
	mux.Handle("/status/", http.StripPrefix("/status", kvhttp.Status(n)))
	mux.Handle("/livez", health)
	mux.Handle("/readyz", health)
	mux.Handle("/metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<!doctype html><meta charset="utf-8"><title>redisserver</title><ul><li><a href="status/">status</a><li><a href="metrics">metrics</a><li><a href="livez">livez</a><li><a href="readyz">readyz</a></ul>`)
	})
	return mux
}
