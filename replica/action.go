package replica

// ActionKind is something that the driver has to do because of a step of the machine. Drivers carry actions out in the
// order given, each to its end, before the next event.
type ActionKind uint8

const (
	// StopAttempt ends the goroutines, streams and timers of Action.Attempt and waits for them. Its staging store is parked: the
	// next attempt of the same group may go on from it.
	StopAttempt ActionKind = iota
	// DropStaging drops a parked staging store.
	DropStaging
	// StartAttempt starts Action.Attempt: dial once (Joining, Resyncing).
	StartAttempt
	// StartLink starts Action.Attempt: dial until the primary accepts (Stale), then go on as an attempt.
	StartLink
	// Install makes the staging store of Action.Attempt the base, and reports Installed or AttemptFailed.
	Install
	// OpenReign lets the node serve as primary of the machine's epoch (or go on, if it did before it was fenced).
	OpenReign
	// HoldWrites keeps new writes waiting.
	HoldWrites
	// ResumeWrites lets the writes that wait go on.
	ResumeWrites
	// FenceReign refuses writes and linearizable reads from here on, and ends those that wait (unconfirmed).
	FenceReign
	// CloseReign ends the reign for good: links of replicas are dropped too.
	CloseReign
	// ReleaseLease gives the lease back.
	ReleaseLease
	// DropData resets the store.
	DropData
	// CountStale counts an event of another attempt, epoch or view, which was dropped.
	CountStale

	numActions
)

// Action is one step for the driver.
type Action struct {
	Kind    ActionKind
	Attempt Attempt
}
