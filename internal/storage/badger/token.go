package badger

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// token says where a stream of captures of one shard stands: whoever has it holds what the shard held at the LSN at, up to and with the
// key, and nothing behind it. Only the store that made it understands it, also after it was opened again.
type token struct {
	content    uint64 // ID of the content
	generation uint64 // of the shard
	above      cluster.LSN
	at         cluster.LSN
	key        []byte // with its slot
}

const tokenHead = 4 * 8

func (t token) encode() []byte {
	b := make([]byte, 0, tokenHead+len(t.key)+4)
	for _, v := range [...]uint64{t.content, t.generation, uint64(t.above), uint64(t.at)} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = append(b, t.key...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// maxTokenKey is how much of a key goes into a token. What begins with as much is sent again after a cut.
const maxTokenKey = 2 << 10

// cutOf is the place behind a key, as a token tells it.
func cutOf(key []byte) []byte { return append([]byte(nil), key[:min(len(key), maxTokenKey)]...) }

func decodeToken(b []byte) (token, error) {
	n := len(b) - 4
	if n < tokenHead || n > tokenHead+maxTokenKey || crc32.Checksum(b[:n], castagnoli) != binary.LittleEndian.Uint32(b[n:]) {
		return token{}, fmt.Errorf("%w: %d bytes that no store of this kind made; begin the shard anew", storage.ErrToken, len(b))
	}
	v := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	return token{v(0), v(1), cluster.LSN(v(2)), cluster.LSN(v(3)), append([]byte(nil), b[tokenHead:n]...)}, nil
}
