package cluster

import (
	"context"
	"time"
)

var _ LeaseWaiter = (*memory)(nil)

// WaitLeaseOver looks again at the end of the lease that it knows of: while a transition is open none is granted, but without one the
// holder may renew it for ever.
func (m *memory) WaitLeaseOver(ctx context.Context, g GroupID) error {
	for {
		if err := m.enter(ctx); err != nil {
			return err
		}
		left := m.ctl.leaseEnd(g) - m.clock.Now()
		m.mu.Unlock()
		if left <= 0 {
			return nil
		}
		t := time.NewTimer(left)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-m.done:
			t.Stop()
			return ErrClosed
		}
	}
}
