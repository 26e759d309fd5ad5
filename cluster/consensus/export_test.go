package consensus

// Leads reports whether a coordinator is the leader.
func Leads(c *Coordinator) bool { return c.leading.Load() != nil }

// LogLength is how many entries the log of a voter with a disk holds.
func LogLength(c *Coordinator) (uint64, error) {
	first, err := c.store.FirstIndex()
	if err != nil {
		return 0, err
	}
	last, err := c.store.LastIndex()
	return last - first + 1, err
}
