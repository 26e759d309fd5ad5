package cluster

import "bytes"

// crcTables holds the CRC16 of XMODEM (polynomial 0x1021, start 0, not reflected) of a byte followed by 0…7 zero
// bytes, so that eight bytes cost eight look-ups that do not wait for each other.
var crcTables = makeCRCTables()

func makeCRCTables() *[8][256]uint16 {
	var t [8][256]uint16
	for b := range 256 {
		crc := uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		t[0][b] = crc
	}
	for k := 1; k < 8; k++ {
		for b := range 256 {
			prev := t[k-1][b]
			t[k][b] = prev<<8 ^ t[0][prev>>8]
		}
	}
	return &t
}

// crc16 is the CRC16 of XMODEM.
func crc16(p []byte) uint16 {
	t := crcTables
	var crc uint16
	for len(p) >= 8 {
		crc = t[7][p[0]^byte(crc>>8)] ^ t[6][p[1]^byte(crc)] ^
			t[5][p[2]] ^ t[4][p[3]] ^ t[3][p[4]] ^ t[2][p[5]] ^ t[1][p[6]] ^ t[0][p[7]]
		p = p[8:]
	}
	for _, b := range p {
		crc = crc<<8 ^ t[0][byte(crc>>8)^b]
	}
	return crc
}

// KeySlot is the slot of a key: the CRC16 of the key modulo NumSlots. If the key holds a '{' and, somewhere after the
// first one, a '}', and there is something between the first '{' and the first '}' after it, only that tag is hashed, so
// that keys with one tag share a slot. This is Redis Cluster's rule. It does not allocate.
func KeySlot(key []byte) Slot {
	if tag, ok := keyTag(key); ok {
		key = tag
	}
	return Slot(crc16(key) % NumSlots)
}

// PrefixSlot is the slot of all keys with a prefix, if there is such a one: if the prefix holds the tag that decides it. It does not allocate.
func PrefixSlot(prefix []byte) (Slot, bool) {
	tag, ok := keyTag(prefix)
	return Slot(crc16(tag) % NumSlots), ok
}

// keyTag is what is between the first '{' and the first '}' after it, unless that is nothing.
func keyTag(key []byte) (tag []byte, ok bool) {
	if open := bytes.IndexByte(key, '{'); open >= 0 {
		tag = key[open+1:]
		if end := bytes.IndexByte(tag, '}'); end > 0 {
			return tag[:end], true
		}
	}
	return nil, false
}
