package checkpoint

import (
	"encoding/binary"
	"hash/crc32"
)

// Reseal makes a head's lengths and checksums fit again, so that tests get behind them.
func Reseal(head, body []byte) []byte {
	b := append([]byte(nil), head[:len(head)-headSum]...)
	binary.LittleEndian.PutUint32(b[16:], uint32(len(body)))
	binary.LittleEndian.PutUint32(b[20:], Sum(body))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// Sum is the checksum of a body.
func Sum(body []byte) uint32 { return crc32.Checksum(body, castagnoli) }

// WithNumber makes a writer go on as if it had written so many sections already.
func (w *Writer) WithNumber(n uint32) { w.number = n }
