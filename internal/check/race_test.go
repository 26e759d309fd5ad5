//go:build race

package check

// underRace says whether the race detector slows everything down, so that only the smaller searches are made.
const underRace = true
