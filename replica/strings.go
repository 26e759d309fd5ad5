package replica

import (
	"fmt"
	"strings"
)

// The names are part of the promise: they appear in logs, metrics and status.

var stateNames = [numStates]string{
	Opening: "Opening", Unassigned: "Unassigned", Joining: "Joining", Following: "Following", Resyncing: "Resyncing",
	Stale: "Stale", Fenced: "Fenced", Primary: "Primary", Draining: "Draining", Failed: "Failed", Closed: "Closed",
}

var phaseNames = [numPhases]string{
	NoPhase: "", Connecting: "Connecting", Receiving: "Receiving", CatchingUp: "CatchingUp", Installing: "Installing",
	Waiting: "Waiting",
}

var eventNames = [numEvents]string{
	Opened: "Opened", Deadline: "Deadline", Follow: "Follow", Lead: "Lead", Unlisted: "Unlisted", Sealed: "Sealed",
	HandOverBegun: "HandOverBegun", HandOverCancelled: "HandOverCancelled", LeaseGranted: "LeaseGranted",
	LeaseLost: "LeaseLost", LinkUp: "LinkUp", AnsweredStaged: "AnsweredStaged", AnsweredLog: "AnsweredLog",
	Received: "Received", Refetch: "Refetch", CaughtUp: "CaughtUp", InStep: "InStep", Installed: "Installed",
	Behind: "Behind", AttemptFailed: "AttemptFailed", LinkLost: "LinkLost", PatienceOver: "PatienceOver",
	Detach: "Detach", StorageFault: "StorageFault", Reset: "Reset", Close: "Close",
}

var actionNames = [numActions]string{
	StopAttempt: "StopAttempt", DropStaging: "DropStaging", StartAttempt: "StartAttempt", StartLink: "StartLink",
	Install: "Install", OpenReign: "OpenReign", HoldWrites: "HoldWrites", ResumeWrites: "ResumeWrites",
	FenceReign: "FenceReign", CloseReign: "CloseReign", ReleaseLease: "ReleaseLease", DropData: "DropData",
	CountStale: "CountStale",
}

var deadlineNames = [numDeadlines]string{
	NoDeadline: "none", OpenDeadline: "open", ConnectDeadline: "connect", ReceiveDeadline: "receive",
	CatchUpDeadline: "catch-up", InstallDeadline: "install", RetryDeadline: "retry", DrainDeadline: "drain",
}

var (
	roleNames    = [...]string{RoleNone: "none", RoleReplica: "replica", RolePrimary: "primary"}
	readNames    = [...]string{ReadNone: "none", ReadLocal: "local", ReadStale: "stale", ReadAll: "all"}
	writeNames   = [...]string{WriteNone: "none", WriteHeld: "held", WriteAll: "all"}
	verdictNames = [...]string{Go: "go", Ignore: "ignore", Refuse: "refuse", Defer: "defer"}
)

// name is the name of a constant, or its type and number if it is none.
func name[T ~uint8](v T, names []string, kind string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("%s(%d)", kind, uint8(v))
}

// String is the name of the constant: "Following".
func (s State) String() string { return name(s, stateNames[:], "State") }

// String is the name of the constant, and "" for NoPhase: "Receiving".
func (p Phase) String() string { return name(p, phaseNames[:], "Phase") }

// String is the name of the constant: "LinkLost".
func (k EventKind) String() string { return name(k, eventNames[:], "EventKind") }

// String is the name of the constant: "StopAttempt".
func (k ActionKind) String() string { return name(k, actionNames[:], "ActionKind") }

// String is "none", "replica" or "primary".
func (r Role) String() string { return name(r, roleNames[:], "Role") }

// String is "none", "local", "stale" or "all".
func (r ReadPermission) String() string { return name(r, readNames[:], "ReadPermission") }

// String is "none", "held" or "all".
func (w WritePermission) String() string { return name(w, writeNames[:], "WritePermission") }

// String is a short word in lower case: "catch-up".
func (d DeadlineKind) String() string { return name(d, deadlineNames[:], "DeadlineKind") }

// String is "go", "ignore", "refuse" or "defer".
func (v Verdict) String() string { return name(v, verdictNames[:], "Verdict") }

// String is the state, and after a slash the phase if there is one: "Joining/Receiving".
func (r Row) String() string {
	if r.Phase == NoPhase {
		return r.State.String()
	}
	return r.State.String() + "/" + r.Phase.String()
}

// String describes the machine in one line. What is zero is left out: "Joining/Receiving attempt 3 group 3f9a01c2 epoch 2".
func (m Machine) String() string {
	var b strings.Builder
	b.WriteString(m.Row().String())
	if m.Attempt != 0 {
		fmt.Fprintf(&b, " attempt %d", uint64(m.Attempt))
	}
	if !m.Group.IsZero() {
		fmt.Fprintf(&b, " group %.8s epoch %d", m.Group.String(), uint64(m.Epoch))
	}
	if m.GaveUp != 0 {
		fmt.Fprintf(&b, " gave up on view %d", m.GaveUp)
	}
	return b.String()
}

// String describes the event in one line. What is zero is left out: "Follow group 3f9a01c2 epoch 2 view 7 with base".
func (e Event) String() string {
	var b strings.Builder
	b.WriteString(e.Kind.String())
	if e.Kind == Deadline {
		fmt.Fprintf(&b, " of %s", Row{e.For, e.ForPhase})
	}
	if e.Attempt != 0 {
		fmt.Fprintf(&b, " attempt %d", uint64(e.Attempt))
	}
	if !e.Group.IsZero() {
		fmt.Fprintf(&b, " group %.8s", e.Group.String())
	}
	if e.Epoch != 0 {
		fmt.Fprintf(&b, " epoch %d", uint64(e.Epoch))
	}
	if e.View != 0 {
		fmt.Fprintf(&b, " view %d", e.View)
	}
	if e.HasBase {
		b.WriteString(" with base")
	}
	return b.String()
}

// String is the kind, and the attempt if it concerns one: "StopAttempt 3".
func (a Action) String() string {
	if a.Attempt == 0 {
		return a.Kind.String()
	}
	return fmt.Sprintf("%s %d", a.Kind, uint64(a.Attempt))
}
