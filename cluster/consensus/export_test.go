package consensus

// Leads reports whether a coordinator is the leader.
func Leads(c *Coordinator) bool { return c.leading.Load() != nil }
