//go:build unix

package chaos

import (
	"testing"

	"github.com/anishathalye/porcupine"
)

// The model takes histories that a register can have, and no others: a check that accepts all finds nothing.
func TestRegisterModel(t *testing.T) {
	set := func(v string) Op { return Op{Kind: "set", Value: v} }
	get, gone := Op{Kind: "get"}, Op{Kind: "delete"}
	cas := func(old, v string) Op { return Op{Kind: "cas", Old: old, Value: v} }
	swap := Op{Kind: "swap", Value: "s"}
	done, unknown, conflict, absent := Result{}, Result{Err: "unknown"}, Result{Err: "conflict"}, Result{Err: "absent"}
	saw := func(v string) Result { return Result{Value: v} }
	found := func(v, err string) Result { return Result{Value: v, Found: true, Err: err} }
	for _, c := range []struct {
		what string
		ops  []any // what was asked and answered, one after the other; what is unknown goes on for ever
		want bool
	}{
		{"nothing", []any{get, absent}, true},
		{"read", []any{set("a"), done, get, saw("a")}, true},
		{"stale", []any{set("a"), done, set("b"), done, get, saw("a")}, false},
		{"lost", []any{set("a"), done, get, absent}, false},
		{"deleted", []any{set("a"), done, gone, done, get, absent}, true},
		{"back from the dead", []any{set("a"), done, gone, done, get, saw("a")}, false},
		{"unknown, done", []any{set("a"), unknown, get, saw("a")}, true},
		{"unknown, not done", []any{set("a"), unknown, get, absent}, true},
		{"unknown, done late", []any{set("a"), unknown, get, absent, get, saw("a")}, true},
		{"unknown, done twice", []any{set("a"), unknown, set("b"), done, get, saw("a"), set("c"), done, get, saw("a")}, false},
		{"cas", []any{set("a"), done, cas("a", "b"), done, get, saw("b")}, true},
		{"cas of another", []any{set("a"), done, cas("x", "b"), done}, false},
		{"cas refused", []any{set("a"), done, cas("x", "b"), conflict, get, saw("a")}, true},
		{"cas refused for nothing", []any{set("a"), done, cas("a", "b"), conflict}, false},
		{"cas unknown of another", []any{set("a"), done, cas("x", "b"), unknown, get, saw("b")}, false},
		{"swap", []any{set("a"), done, swap, found("a", ""), get, saw("s")}, true},
		{"swap of what was not there", []any{set("a"), done, swap, found("x", "")}, false},
		{"swap unknown", []any{set("a"), done, swap, found("a", "unknown"), get, saw("s")}, true},
		{"swap unknown of what was not there", []any{set("a"), done, swap, found("x", "unknown"), get, saw("s")}, false},
		{"swap that nobody heard of", []any{set("a"), done, swap, unknown, get, saw("s")}, true},
		{"swap refused", []any{set("a"), done, swap, found("a", "conflict"), get, saw("a")}, true},
		{"swap refused, and done", []any{set("a"), done, swap, found("a", "conflict"), get, saw("s")}, false},
	} {
		var h []porcupine.Operation
		for i := 0; i < len(c.ops); i += 2 {
			o := porcupine.Operation{ClientId: i, Input: c.ops[i], Output: c.ops[i+1], Call: int64(i), Return: int64(i + 1)}
			if o.Output.(Result).Err == "unknown" {
				o.Return = never
			}
			h = append(h, o)
		}
		if got := porcupine.CheckOperations(registerModel, h); got != c.want {
			t.Errorf("%s: the model says %v", c.what, got)
		}
	}
}
