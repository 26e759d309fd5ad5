package memory

import (
	"math/rand/v2"
	"testing"
)

// checkIndex compares the index with a set of refs: each is found by probing from its own place, and none is left over.
func checkIndex(t *testing.T, x *index, want map[ref]bool) {
	t.Helper()
	tb := table{index: *x}
	for r := range want {
		refs, i, ok := tb.locate(r)
		if !ok || refs[i] != r {
			t.Fatalf("ref %x is not found", uint64(r))
		}
	}
	n := 0
	for tag := uint32(0); tag < 1<<tagBits; tag = x.next(tag) {
		s := x.segment(tag)
		if s == nil {
			continue
		}
		used := 0
		for _, r := range s.refs {
			if r != 0 {
				used++
				if !want[r] {
					t.Fatalf("ref %x is left over", uint64(r))
				}
			}
		}
		if used != s.used {
			t.Fatalf("segment holds %d refs and counts %d", used, s.used)
		}
		n += used
	}
	if n != len(want) {
		t.Fatalf("walk found %d refs of %d", n, len(want))
	}
}

func TestIndexSplitsAndShrinks(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var x index
	want := map[ref]bool{}
	grown := 0
	for n := range 20000 {
		r := makeRef(tagOf(rng.Uint64()), uint32(1+n%1000), n%maxOffset)
		grown += x.insert(r)
		want[r] = true
		if n%3 == 2 {
			for old := range want {
				tb := table{index: x}
				_, i, _ := tb.locate(old)
				x.segment(old.tag()).remove(i)
				delete(want, old)
				break
			}
		}
		if n&(n-1) == 0 {
			checkIndex(t, &x, want)
		}
	}
	checkIndex(t, &x, want)
	if x.depth < 4 {
		t.Errorf("depth %d after 20000 refs: nothing was split", x.depth)
	}
	held := 0
	for tag := uint32(0); tag < 1<<tagBits; tag = x.next(tag) {
		held += 8*len(x.segment(tag).refs) + segmentHeader
	}
	if held != grown {
		t.Errorf("index holds %d bytes and reported %d", held, grown)
	}
}

func TestIndexSameTags(t *testing.T) {
	for _, tag := range []uint32{0, 1<<tagBits - 1, 0x155_5555} {
		var x index
		want := map[ref]bool{}
		for n := range 3 * maxSegment {
			r := makeRef(tag, 1, n)
			x.insert(r)
			want[r] = true
		}
		checkIndex(t, &x, want)
		for n := 0; n < 3*maxSegment; n += 2 {
			r := makeRef(tag, 1, n)
			tb := table{index: x}
			_, i, ok := tb.locate(r)
			if !ok {
				t.Fatalf("ref %d is not found", n)
			}
			x.segment(tag).remove(i)
			delete(want, r)
		}
		checkIndex(t, &x, want)
	}
}
