package badger

import (
	"fmt"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// logger hands Badger's messages on, each a level lower than Badger thinks of it, since what matters to the operator is an error of the
// engine's as well.
type logger struct {
	hclog.Logger
	stalls *stalls
}

func (l logger) say(f string, args []any) string { return strings.TrimSpace(fmt.Sprintf(f, args...)) }

// Errorf implements Badger's Logger.
func (l logger) Errorf(f string, args ...any) {
	text := l.say(f, args)
	l.Warn(text)
	l.stalls.look(text)
}

// Warningf implements Badger's Logger.
func (l logger) Warningf(f string, args ...any) { l.Info(l.say(f, args)) }

// Infof implements Badger's Logger.
func (l logger) Infof(f string, args ...any) {
	if l.IsTrace() {
		l.Trace(l.say(f, args))
	}
}

// Debugf implements Badger's Logger.
func (l logger) Debugf(f string, args ...any) {
	if l.IsTrace() {
		l.Trace(l.say(f, args))
	}
}
