package consensus_test

import (
	"testing"
	"testing/synctest"

	"github.com/hessonite/kv/cluster/consensus"
)

// TestCloseWhileItTakesOver closes a voter at the moment at which it has been elected and asks for its first barrier. What Raft has in its queue when it
// is shut down it never answers: Close must not wait for such an answer.
func TestCloseWhileItTakesOver(t *testing.T) {
	for range 500 {
		synctest.Test(t, func(t *testing.T) {
			c := newGroup(t, 1, "", nil).open("v1")
			<-consensus.Elected(c)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
