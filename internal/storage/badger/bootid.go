package badger

import (
	"os"
	"strings"
)

// bootID names the time since the machine was started: what the process left to the operating system is still there as long as it is
// the same. "" where there is no such thing.
func bootID(h *Hooks) string {
	if h.BootID != nil {
		return h.BootID()
	}
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
