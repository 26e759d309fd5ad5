package yield

import (
	"runtime"
	"time"
)

const (
	tooLong = 8 * time.Millisecond // a little less than the scheduler lets a goroutine compute
	restFor = 10                   // times what it took
)

// Turn is what a goroutine remembers of its yields. The zero Turn is ready; it is for one goroutine.
type Turn struct{ rest time.Time }

// Give lets others run, unless that took long a short while ago.
func (t *Turn) Give() { t.give(time.Now, runtime.Gosched) }

func (t *Turn) give(now func() time.Time, yield func()) {
	began := now()
	if began.Before(t.rest) {
		return
	}
	yield()
	if took := now().Sub(began); took > tooLong {
		t.rest = began.Add(restFor * took)
	}
}
