package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// figures are what one run of a lane measured: name, with its unit, and value.
type figures map[string]float64

// lane is one way to do a work: this library, or a peer.
type lane struct {
	name string
	run  func(ctx context.Context, e *env) (figures, error)
}

// work is something that is measured: the same by each of its lanes.
type work struct {
	name, title string
	lanes       []lane
	targets     []target
}

// target is a ratio that is to be reached: the median of one figure of a lane beside the median of another, perhaps of another work.
type target struct {
	text      string // what is compared
	of, per   ref
	limit     float64
	atMost    bool // the ratio shall be at most limit; otherwise at least
	onlyTells bool // the ratio is told; nothing is wanted of it
}

// ref names a figure: of a lane of a work.
type ref struct{ work, lane, figure string }

// env is what a lane runs in: a process of its own.
type env struct {
	scale float64
	dir   string // temporary; gone afterwards
	undo  []func()
}

// n is a number of entries, or of operations, at the scale of this run.
func (e *env) n(full int) int { return max(int(float64(full)*e.scale), 64) }

// cleanup runs f when the lane has ended, the last one first.
func (e *env) cleanup(f func()) { e.undo = append(e.undo, f) }

func (e *env) clean() {
	for i := len(e.undo) - 1; i >= 0; i-- {
		e.undo[i]()
	}
}

// errAbsent says that a peer is not on this machine: the lane is left out.
var errAbsent = errors.New("not on this machine")

// laneTimeout bounds one run of a lane.
const laneTimeout = 15 * time.Minute

// outcome is what a lane's process prints.
type outcome struct {
	Figures figures `json:"figures,omitempty"`
	Absent  string  `json:"absent,omitempty"`
}

// runHere runs a lane in this process and prints its outcome.
func runHere(ctx context.Context, l *lane, scale float64) error {
	dir, err := os.MkdirTemp("", "kvbench-")
	if err != nil {
		return err
	}
	e := &env{scale: scale, dir: dir}
	defer os.RemoveAll(dir)
	defer e.clean()
	f, err := l.run(ctx, e)
	out := outcome{Figures: f}
	if errors.Is(err, errAbsent) {
		out.Absent, err = err.Error(), nil
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// runApart runs a lane in a process of its own.
func runApart(ctx context.Context, w *work, l *lane, scale float64) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, laneTimeout)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return outcome{}, err
	}
	cmd := exec.CommandContext(ctx, self, "-lane", w.name+"/"+l.name, "-scale", strconv.FormatFloat(scale, 'g', -1, 64))
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	b, err := cmd.Output()
	if err != nil {
		return outcome{}, fmt.Errorf("lane %s/%s: %w", w.name, l.name, err)
	}
	var out outcome
	if err := json.Unmarshal(bytes.TrimSpace(b), &out); err != nil {
		return outcome{}, fmt.Errorf("lane %s/%s printed %q: %w", w.name, l.name, b, err)
	}
	return out, nil
}
