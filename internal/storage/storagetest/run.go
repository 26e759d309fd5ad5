package storagetest

import (
	"testing"

	"github.com/hessonite/kv/internal/storage"
)

// Factory makes an empty engine that holds up to maxBytes (0: no limit), and closes it when the test ends.
type Factory func(t testing.TB, maxBytes int64) storage.Engine

// Run runs the suite.
func Run(t *testing.T, open Factory) {
	tests := []struct {
		name string
		run  func(*testing.T, Factory)
	}{
		{"Operations", testOperations},
		{"GetIntoBuffer", testGetIntoBuffer},
		{"LargeValues", testLargeValues},
		{"Due", testDue},
		{"DropSlots", testDropSlots},
		{"Reset", testReset},
		{"Close", testClose},
		{"Purge", testPurge},
		{"Full", testFull},
		{"Sync", testSync},
		{"SyncUnderWrites", testSyncUnderWrites},
		{"CaptureIsAPointInTime", testCapturePoint},
		{"ResumeSendsNothingTwice", testResumeOnce},
		{"TokenOfAnother", testForeignToken},
		{"HorizonOfAResume", testResumeHorizon},
		{"HorizonOfADelta", testDeltaHorizon},
		{"DeltaCostsTheChange", testDeltaCost},
		{"Scenario45", testScenario45},
		{"Scenario46", testScenario46},
		{"Rehistory", testRehistory},
		{"BaseThatParted", testBaseThatParted},
		{"IncompleteInstall", testIncompleteInstall},
		{"BackToTheLog", testBackToTheLog},
		{"CorruptBlock", testCorruptBlock},
		{"StageFull", testStageFull},
		{"AtomicInstall", testAtomicInstall},
		{"Readers", testReaders},
		{"Snapshot", testSnapshot},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) { tc.run(t, open) })
	}
}
