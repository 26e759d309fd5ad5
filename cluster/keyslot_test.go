package cluster

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestKeySlot has the vectors of the Redis Cluster specification.
func TestKeySlot(t *testing.T) {
	if got := crc16([]byte("123456789")); got != 0x31C3 {
		t.Fatalf("crc16 = %#x, want 0x31c3", got)
	}
	for key, want := range map[string]Slot{
		"":          0,
		"foo":       12182,
		"bar":       5061,
		"123456789": 0x31C3 % NumSlots,
	} {
		if got := KeySlot([]byte(key)); got != want {
			t.Errorf("KeySlot(%q) = %d, want %d", key, got, want)
		}
	}
	for key, tag := range map[string]string{
		"{user1000}.following": "user1000",
		"{user1000}.followers": "user1000",
		"foo{bar}zap":          "bar",
		"foo{{bar}}zap":        "{bar",
		"foo{bar}{zap}":        "bar",
		"a}b{foo}":             "foo",
	} {
		if got, want := KeySlot([]byte(key)), Slot(crc16([]byte(tag))%NumSlots); got != want {
			t.Errorf("KeySlot(%q) = %d, want that of %q, %d", key, got, tag, want)
		}
	}
	for _, whole := range []string{"foo{}{bar}", "{}", "{}abc", "foo{bar", "foo}bar{", "{"} {
		if got, want := KeySlot([]byte(whole)), Slot(crc16([]byte(whole))%NumSlots); got != want {
			t.Errorf("KeySlot(%q) = %d, want that of the whole key, %d", whole, got, want)
		}
	}
}

// TestCRCByBits compares the tables with the definition.
func TestCRCByBits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes")
		var want uint16
		for _, b := range p {
			want ^= uint16(b) << 8
			for range 8 {
				carry := want&0x8000 != 0
				want <<= 1
				if carry {
					want ^= 0x1021
				}
			}
		}
		if got := crc16(p); got != want {
			t.Fatalf("crc16(%x) = %#x, want %#x", p, got, want)
		}
	})
}

func TestKeySlotDoesNotAllocate(t *testing.T) {
	key := []byte("prefix{user1000}.following")
	if n := testing.AllocsPerRun(100, func() { KeySlot(key) }); n != 0 {
		t.Fatalf("%v allocations a call", n)
	}
}

func BenchmarkKeySlot(b *testing.B) {
	for name, key := range map[string][]byte{"16": []byte("user:00000012345"), "tag": []byte("{user1000}.following"), "1024": bytes.Repeat([]byte("x"), 1024)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(key)))
			for b.Loop() {
				KeySlot(key)
			}
		})
	}
}

func TestPrefixSlot(t *testing.T) {
	const letters = "{}ab"
	some := func(n int) (s []byte) {
		for ; n > 0; n /= 5 {
			if n%5 > 0 {
				s = append(s, letters[n%5-1])
			}
		}
		return s
	}
	told := 0
	for i := range 5 * 5 * 5 * 5 {
		prefix := some(i)
		slot, ok := PrefixSlot(prefix)
		if ok {
			told++
		}
		differ := false
		for j := range 5 * 5 * 5 * 5 {
			key := append(bytes.Clone(prefix), some(j)...)
			switch got := KeySlot(key); {
			case ok && got != slot:
				t.Fatalf("%q is in slot %d, its prefix %q in %d", key, got, prefix, slot)
			case got != KeySlot(prefix):
				differ = true
			}
		}
		if !ok && !differ {
			t.Fatalf("all keys with the prefix %q are in one slot", prefix)
		}
	}
	if told == 0 {
		t.Fatal("no prefix has a slot")
	}
}
