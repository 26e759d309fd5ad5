package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

// works are all that can be measured, in the order of the report.
func works() []work {
	return slices.Concat(machineWorks(), syncWorks(), catchupWorks(), diskWorks(), writeWorks(), latencyWorks(), forwardWorks(), scanWorks(), memoryWorks(), growthWorks())
}

func main() {
	var o options
	flag.StringVar(&o.what, "what", "all", "the works to measure, separated by commas; a prefix stands for all that begin so")
	flag.IntVar(&o.runs, "runs", 5, "how often each lane runs")
	flag.Float64Var(&o.scale, "scale", 1, "the share of entries and operations to measure with")
	flag.StringVar(&o.results, "results", "results.json", "the file that figures are kept in; those of works that are measured again are replaced")
	flag.StringVar(&o.only, "only", "", "measure only lanes whose name begins so")
	flag.StringVar(&o.render, "render", "", "measure nothing: write plots and tables from -results into this directory")
	flag.BoolVar(&o.list, "list", false, "list the works and their lanes")
	flag.StringVar(&o.lane, "lane", "", "run one lane, work/lane, in this process, and print its figures")
	flag.StringVar(&o.cpu, "cpuprofile", "", "with -lane: write a profile of the processor to this file")
	flag.StringVar(&o.heap, "memprofile", "", "with -lane: write a profile of the memory to this file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := o.do(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

type options struct {
	what, results, only, render, lane, cpu, heap string
	runs                                         int
	scale                                        float64
	list                                         bool
}

func (o *options) do(ctx context.Context) error {
	switch {
	case o.list:
		for _, w := range works() {
			fmt.Printf("%-18s %s\n", w.name, w.title)
			for _, l := range w.lanes {
				fmt.Printf("%-18s   %s\n", "", l.name)
			}
		}
		return nil
	case o.lane != "":
		return o.oneLane(ctx)
	case o.render != "":
		r, err := readResults(o.results)
		if err != nil {
			return err
		}
		return r.render(o.render)
	}
	return o.measure(ctx)
}

// chosen are the works that were asked for.
func (o *options) chosen() ([]work, error) {
	all := works()
	if o.what == "all" {
		return all, nil
	}
	var out []work
	for _, name := range strings.Split(o.what, ",") {
		n := len(out)
		for _, w := range all {
			if strings.HasPrefix(w.name, name) {
				out = append(out, w)
			}
		}
		if len(out) == n {
			return nil, fmt.Errorf("no work is named %q; -list names them", name)
		}
	}
	return out, nil
}

func (o *options) oneLane(ctx context.Context) error {
	for _, w := range works() {
		for i := range w.lanes {
			l := &w.lanes[i]
			if w.name+"/"+l.name != o.lane {
				continue
			}
			stop, err := o.profile()
			if err != nil {
				return err
			}
			defer stop()
			return runHere(ctx, l, o.scale)
		}
	}
	return fmt.Errorf("no lane is named %q; -list names them", o.lane)
}

func (o *options) profile() (stop func(), err error) {
	var cpu, heap *os.File
	if o.cpu != "" {
		if cpu, err = os.Create(o.cpu); err != nil {
			return nil, err
		}
		if err := pprof.StartCPUProfile(cpu); err != nil {
			return nil, err
		}
	}
	if o.heap != "" {
		if heap, err = os.Create(o.heap); err != nil {
			return nil, err
		}
	}
	return func() {
		if cpu != nil {
			pprof.StopCPUProfile()
			cpu.Close()
		}
		if heap != nil {
			_ = pprof.Lookup("allocs").WriteTo(heap, 0)
			heap.Close()
		}
	}, nil
}

// measure runs the works, and prints and keeps what was measured, a work at a time.
func (o *options) measure(ctx context.Context) error {
	list, err := o.chosen()
	if err != nil {
		return err
	}
	kept, err := readResults(o.results)
	if err != nil {
		return err
	}
	for i := range list {
		w := &list[i]
		began := time.Now()
		samples, err := o.run(ctx, w)
		if err != nil {
			return err
		}
		kept.put(w, samples, o, began)
		kept.print(os.Stdout, w)
		if err := kept.save(o.results); err != nil {
			return err
		}
	}
	return nil
}

// run runs each lane of a work, in turn, so many times.
func (o *options) run(ctx context.Context, w *work) (map[string][]figures, error) {
	samples := map[string][]figures{}
	absent := map[string]bool{}
	for run := range o.runs {
		for i := range w.lanes {
			// Another one begins in each run.
			l := &w.lanes[(i+run)%len(w.lanes)]
			if absent[l.name] || !strings.HasPrefix(l.name, o.only) {
				continue
			}
			out, err := runApart(ctx, w, l, o.scale)
			if err != nil {
				return nil, err
			}
			if out.Absent != "" {
				absent[l.name] = true
				fmt.Printf("%s/%s is left out: %s\n", w.name, l.name, out.Absent)
				continue
			}
			samples[l.name] = append(samples[l.name], out.Figures)
		}
	}
	return samples, nil
}
