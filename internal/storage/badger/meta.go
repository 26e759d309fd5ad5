package badger

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

// What a database tells about itself lies under keys that begin with 0xff. Each transaction that moves the base writes one of a ring
// of ringSize keys: the number of the run, the base's LSN, the sequence of the transaction, and the figures of the shards that it
// changed and of a few others in turn. So the ring as a whole holds the present figures of every shard, and a run costs one small
// key, whatever it changes.
const (
	metaPrefix = 0xff
	ringSize   = 64
	metaFormat = 1
	// metaReserve is what a transaction keeps free for these keys: the longest history, and figures of all shards.
	metaReserve      = 64 << 10
	metaReserveCount = 8
)

var (
	contentKey  = []byte("\xffcontent")  // the content's ID, and the format of all this
	historyKey  = []byte("\xffhistory")  // cluster.History
	horizonsKey = []byte("\xffhorizons") // horizon and generation of each shard
	marksKey    = []byte("\xffmarks")    // which sequence holds which LSN
	markerKey   = []byte("\xffmarker")   // an install that has to be finished
)

func ringKey(run uint64) []byte { return append([]byte("\xffrun"), byte(run%ringSize)) }

// ringEntry is what one run tells.
type ringEntry struct {
	run    uint64
	seq    uint64
	lsn    cluster.LSN
	shards []ringShard
}

type ringShard struct {
	shard          cluster.Shard
	changed        cluster.LSN
	entries, tombs int64
}

func (r *ringEntry) append(b []byte) []byte {
	b = append(b, metaFormat)
	b = binary.AppendUvarint(b, r.run)
	b = binary.AppendUvarint(b, r.seq)
	b = binary.AppendUvarint(b, uint64(r.lsn))
	b = binary.AppendUvarint(b, uint64(len(r.shards)))
	for _, s := range r.shards {
		b = append(b, byte(s.shard))
		b = binary.AppendVarint(b, int64(r.lsn-s.changed)) // small in most cases
		b = binary.AppendUvarint(b, uint64(s.entries))
		b = binary.AppendUvarint(b, uint64(s.tombs))
	}
	return b
}

func decodeRing(b []byte) (r ringEntry, err error) {
	d := fields{b: b}
	d.format()
	r = ringEntry{run: d.uint(), seq: d.uint(), lsn: cluster.LSN(d.uint())}
	n := d.uint()
	if n > cluster.NumShards {
		d.fail("figures of %d shards", n)
		n = 0
	}
	for range n {
		s := ringShard{shard: cluster.Shard(d.byte())}
		s.changed = r.lsn - cluster.LSN(d.int())
		s.entries, s.tombs = int64(d.uint()), int64(d.uint())
		r.shards = append(r.shards, s)
	}
	return r, d.end("run")
}

// turn is how many shards' figures go with each run in any case.
const turn = cluster.NumShards / ringSize

// ring is the entry for the next run, with the figures as they will be.
func (f *figures) ring(run, seq uint64, lsn cluster.LSN, d *delta) ringEntry {
	r := ringEntry{run: run, seq: seq, lsn: lsn, shards: make([]ringShard, 0, turn+len(d.shards))}
	add := func(s cluster.Shard) {
		sh := f.shards[s]
		if sd := d.shards[s]; sd != nil {
			sd.kept(&sh)
		}
		r.shards = append(r.shards, ringShard{s, sh.changed, sh.entries, sh.tombs})
	}
	first := cluster.Shard(run % ringSize * turn)
	for i := range cluster.Shard(turn) {
		add(first + i)
	}
	for s := range d.shards {
		if s-first >= turn {
			add(s)
		}
	}
	return r
}

// appendHorizons encodes what horizonsKey holds, with the figures as they will be.
func (f *figures) appendHorizons(b []byte, d *delta) []byte {
	b = append(b, metaFormat)
	for i := range f.shards {
		sh := f.shards[i]
		if sd := d.shards[cluster.Shard(i)]; sd != nil {
			sd.kept(&sh)
		}
		b = binary.AppendUvarint(b, uint64(sh.horizon))
		b = binary.AppendUvarint(b, sh.generation)
	}
	return b
}

func (f *figures) decodeHorizons(b []byte) error {
	d := fields{b: b}
	d.format()
	for i := range f.shards {
		f.shards[i].horizon, f.shards[i].generation = cluster.LSN(d.uint()), d.uint()
	}
	return d.end("horizons")
}

// mark says that every record with an LSN above lsn was committed at a sequence above seq. Marks let a pass that looks for newer records
// leave entries out by their sequence, without reading their values.
type mark struct {
	lsn cluster.LSN
	seq uint64
}

// maxMarks is how many marks are kept. When there are more, every second one of the older half goes.
const maxMarks = 128

// addMark notes a mark. LSNs may go down, after an install: then marks with higher ones say less than the new one, and go.
func addMark(marks []mark, m mark) []mark {
	for len(marks) > 0 && marks[len(marks)-1].lsn >= m.lsn {
		marks = marks[:len(marks)-1]
	}
	marks = append(marks, m)
	if len(marks) > maxMarks {
		kept := marks[:0]
		for i, m := range marks {
			if i >= maxMarks/2 || i%2 == 0 {
				kept = append(kept, m)
			}
		}
		marks = kept
	}
	return marks
}

// floor is a sequence so that all records above the LSN were committed above it.
func floor(marks []mark, above cluster.LSN) uint64 {
	i, found := slices.BinarySearchFunc(marks, above, func(m mark, lsn cluster.LSN) int {
		switch {
		case m.lsn < lsn:
			return -1
		case m.lsn > lsn:
			return 1
		}
		return 0
	})
	if found {
		return marks[i].seq
	}
	if i == 0 {
		return 0
	}
	return marks[i-1].seq
}

func appendMarks(b []byte, marks []mark) []byte {
	b = append(b, metaFormat)
	b = binary.AppendUvarint(b, uint64(len(marks)))
	for _, m := range marks {
		b = binary.AppendUvarint(b, uint64(m.lsn))
		b = binary.AppendUvarint(b, m.seq)
	}
	return b
}

func decodeMarks(b []byte) (marks []mark, err error) {
	d := fields{b: b}
	d.format()
	n := d.uint()
	if n > maxMarks {
		d.fail("%d marks", n)
		n = 0
	}
	for range n {
		marks = append(marks, mark{cluster.LSN(d.uint()), d.uint()})
	}
	return marks, d.end("marks")
}

// fields reads what the functions above wrote. The first fault sticks, and nothing is read behind it.
type fields struct {
	b   []byte
	err error
}

func (d *fields) fail(f string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(f, args...)
	}
	d.b = nil
}

func (d *fields) byte() byte {
	if len(d.b) == 0 {
		d.fail("cut short")
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *fields) format() {
	if v := d.byte(); d.err == nil && v != metaFormat {
		d.fail("format %d, this release knows %d", v, metaFormat)
	}
}

func (d *fields) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("cut short")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *fields) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail("cut short")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *fields) bytes() []byte {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.fail("cut short")
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

// end is the first fault, with what was read.
func (d *fields) end(what string) error {
	if d.err == nil && len(d.b) > 0 {
		d.fail("%d bytes too many", len(d.b))
	}
	if d.err != nil {
		return fmt.Errorf("%w: %s: %w; remove the directory and let the node sync anew", storage.ErrDamaged, what, d.err)
	}
	return nil
}
