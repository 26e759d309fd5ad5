package kvprom_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hessonite/kv"
	"github.com/hessonite/kv/kvprom"
)

// A service shows its node to Prometheus, beside what else it shows.
func Example() {
	n, err := kv.Open(context.Background(), kv.Options{ID: "n1"})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()

	registry := prometheus.NewRegistry()
	registry.MustRegister(kvprom.New(n))
	metrics := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})

	mux := http.NewServeMux()
	mux.Handle("/metrics", metrics)
	server := httptest.NewServer(mux) // in a service: its own server
	defer server.Close()
	response, err := http.Get(server.URL + "/metrics")
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "hessonite_state{") && strings.HasSuffix(line, " 1\n") || strings.HasPrefix(line, "hessonite_slots") {
			fmt.Print(line)
		}
	}
	// Output:
	// hessonite_slots{node="n1"} 16384
	// hessonite_state{node="n1",state="primary"} 1
}

// The nodes of several clusters in one registry: all collectors have the same labels, with values of their own.
func ExampleWithLabels() {
	registry := prometheus.NewRegistry()
	for _, cluster := range []string{"orders", "users"} {
		n, err := kv.Open(context.Background(), kv.Options{ID: "n1"})
		if err != nil {
			log.Fatal(err)
		}
		defer n.Close()
		registry.MustRegister(kvprom.New(n, kvprom.WithLabels(prometheus.Labels{"cluster": cluster})))
	}
	families, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "hessonite_can_write" {
			for _, m := range f.GetMetric() {
				fmt.Println(m.GetLabel()[0].GetValue(), m.GetLabel()[1].GetValue(), m.GetGauge().GetValue())
			}
		}
	}
	// Output:
	// orders n1 1
	// users n1 1
}

// Everything that a Collector may show is listed, for a page of one's own or for a check of rules.
func ExampleDefinitions() {
	for _, d := range kvprom.Definitions() {
		if d.Topic == "Replicas of a primary" && d.Type == kvprom.Counter {
			fmt.Println(d.Name, d.Labels)
		}
	}
	// Output:
	// hessonite_sync_rounds_total [kind]
}
