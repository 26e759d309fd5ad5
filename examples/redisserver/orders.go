package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hessonite/kv"
)

// orderTimeout bounds an operator's command that gives no time itself. A first sync may take longer: SYNC waits without it.
const orderTimeout = time.Minute

// orders are the operators' commands that are under way, so that FAILOVER ABORT finds the failover, and the end of the server waits for all.
type orders struct {
	mu       sync.Mutex
	failover context.CancelFunc // of the one that is under way
	running  sync.WaitGroup
}

var errAborted = errors.New("aborted by FAILOVER ABORT")

// run carries a failover out under a context that FAILOVER ABORT cancels. Only one runs at a time.
func (o *orders) run(ctx context.Context, timeout time.Duration, f func(context.Context) error) error {
	ctx, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	o.mu.Lock()
	if o.failover != nil {
		o.mu.Unlock()
		return kv.ErrBusy
	}
	o.failover = func() { abort(errAborted) }
	o.running.Add(1)
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		o.failover = nil
		o.mu.Unlock()
		o.running.Done()
	}()
	err := f(ctx)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errAborted) {
		return errors.Join(cause, err)
	}
	return err
}

// abort ends the failover that is under way; false if none is.
func (o *orders) abort() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failover == nil {
		return false
	}
	o.failover()
	return true
}

func (o *orders) wait() { o.running.Wait() }
