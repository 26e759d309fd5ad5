package kvhttp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/kvhttp"
)

// A service mounts the page and the probes beside its own handlers.
func Example() {
	n, err := kv.Open(context.Background(), kv.Options{ID: "n1"})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()

	mux := http.NewServeMux()
	mux.Handle("/debug/kv/", http.StripPrefix("/debug/kv", kvhttp.Status(n)))
	mux.Handle("/livez", kvhttp.Health(n))
	mux.Handle("/readyz", kvhttp.Health(n))

	server := httptest.NewServer(mux) // in a service: http.Server, on an address that operators reach, and others do not
	defer server.Close()
	for _, path := range []string{"/debug/kv/", "/debug/kv/status.json", "/livez", "/readyz"} {
		r, err := http.Get(server.URL + path)
		if err != nil {
			log.Fatal(err)
		}
		r.Body.Close()
		fmt.Println(r.StatusCode, r.Header.Get("Content-Type"))
	}
	// Output:
	// 200 text/html; charset=utf-8
	// 200 application/json; charset=utf-8
	// 200 application/json; charset=utf-8
	// 200 application/json; charset=utf-8
}

// A program reads the report by the same type.
func ExampleStatus() {
	n, err := kv.Open(context.Background(), kv.Options{ID: "n1"})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()
	server := httptest.NewServer(kvhttp.Status(n))
	defer server.Close()

	r, err := http.Get(server.URL + "/status.json")
	if err != nil {
		log.Fatal(err)
	}
	defer r.Body.Close()
	var report kvhttp.Report
	if err := json.NewDecoder(r.Body).Decode(&report); err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.State.State, report.Summary.Verdict)
	fmt.Println(report.Summary.Text)
	// Output:
	// Primary ok
	// n1 is primary of 16,384 slots. It has no replica.
}

// A balancer that sends all writes to the primary asks for a node that leads.
func ExampleHealth() {
	n, err := kv.Open(context.Background(), kv.Options{ID: "n1"})
	if err != nil {
		log.Fatal(err)
	}
	leader := httptest.NewServer(kvhttp.Health(n, kvhttp.Leading()))
	defer leader.Close()

	ask := func() {
		r, err := http.Get(leader.URL + "/readyz")
		if err != nil {
			log.Fatal(err)
		}
		defer r.Body.Close()
		var health kvhttp.HealthReport
		if err := json.NewDecoder(r.Body).Decode(&health); err != nil {
			log.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Println(r.StatusCode, health.State, health.CanWrite, health.Reason)
	}
	ask()
	if err := n.Close(); err != nil {
		log.Fatal(err)
	}
	ask()
	// Output:
	// 200 Primary true it serves its slots
	// 503 Closed false the node is closed
}
