package checkpoint

import "time"

// meter measures a rate over the last few seconds. It keeps a sum for each quarter of a second since its first byte.
type meter struct {
	first time.Time
	last  int64 // number of the newest slot
	slots [16]int64
}

const meterSlot = 250 * time.Millisecond

// roll makes the slot of that moment the newest one; those skipped are empty.
func (m *meter) roll(now time.Time) {
	n := int64(now.Sub(m.first) / meterSlot)
	size := int64(len(m.slots))
	for i := max(m.last+1, n-size+1); i <= n; i++ {
		m.slots[i%size] = 0
	}
	m.last = max(m.last, n)
}

func (m *meter) add(bytes int64, now time.Time) {
	if m.first.IsZero() {
		m.first = now
	}
	m.roll(now)
	m.slots[m.last%int64(len(m.slots))] += bytes
}

func (m *meter) perSecond(now time.Time) float64 {
	if m.first.IsZero() {
		return 0
	}
	m.roll(now)
	var sum int64
	for _, n := range m.slots {
		sum += n
	}
	// The slots reach back to the start of the oldest one, or to the first byte. The newest is not over yet.
	since := max(0, (m.last-int64(len(m.slots))+1)*int64(meterSlot))
	span := now.Sub(m.first) - time.Duration(since)
	return float64(sum) / max(span, meterSlot).Seconds()
}
