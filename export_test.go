package kv

// SetStep lets a test act, or fail, at the steps of a replica's attempt.
func SetStep(o *Options, f func(step string) error) { o.hooks.Step = f }
