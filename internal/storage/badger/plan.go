package badger

import (
	"encoding/binary"
	"strings"

	"github.com/hessonite/kv/cluster"
)

// plan says what an install makes of the base: it is the last thing in a spool.
type plan struct {
	lsn     cluster.LSN
	history cluster.History
	shards  [cluster.NumShards]planShard
	log     []segment // records of all shards
}

type planShard struct {
	full    bool // nothing of the base's shard stays
	changed cluster.LSN
	horizon cluster.LSN
	logFrom int // the first of the log's segments that concerns the shard
	segs    []segment
}

func (p *plan) encode() ([]byte, error) {
	b := []byte{metaFormat}
	b = binary.AppendUvarint(b, uint64(p.lsn))
	h, err := p.history.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	b = binary.AppendUvarint(b, uint64(len(h)))
	b = append(b, h...)
	for i := range p.shards {
		sh := &p.shards[i]
		full := byte(0)
		if sh.full {
			full = 1
		}
		b = append(b, full)
		b = binary.AppendUvarint(b, uint64(sh.changed))
		b = binary.AppendUvarint(b, uint64(sh.horizon))
		b = binary.AppendUvarint(b, uint64(sh.logFrom))
		b = appendSegments(b, sh.segs)
	}
	return appendSegments(b, p.log), nil
}

func appendSegments(b []byte, segs []segment) []byte {
	b = binary.AppendUvarint(b, uint64(len(segs)))
	for _, s := range segs {
		b = binary.AppendUvarint(b, uint64(s.off))
		b = binary.AppendUvarint(b, uint64(s.size))
		b = binary.AppendUvarint(b, uint64(s.sum))
		b = binary.AppendUvarint(b, s.above)
	}
	return b
}

func decodePlan(b []byte) (*plan, error) {
	d := fields{b: b}
	d.format()
	p := &plan{lsn: cluster.LSN(d.uint())}
	h, rest, err := cluster.DecodeHistory(d.bytes())
	if err != nil || len(rest) > 0 {
		d.fail("history: %v", err)
	}
	p.history = h
	for i := range p.shards {
		sh := &p.shards[i]
		sh.full = d.byte() != 0
		sh.changed, sh.horizon = cluster.LSN(d.uint()), cluster.LSN(d.uint())
		sh.logFrom = int(d.uint())
		sh.segs = d.segments()
	}
	p.log = d.segments()
	for i := range p.shards {
		if n := p.shards[i].logFrom; n < 0 || n > len(p.log) {
			d.fail("shard %d takes the log from part %d of %d", i, n, len(p.log))
		}
	}
	return p, d.end("plan of an install")
}

func (d *fields) segments() []segment {
	n := d.uint()
	if n > uint64(len(d.b))/4 {
		d.fail("%d segments", n)
		return nil
	}
	segs := make([]segment, 0, n)
	for range n {
		segs = append(segs, segment{off: int64(d.uint()), size: int64(d.uint()), sum: uint32(d.uint()), above: d.uint()})
	}
	return segs
}

// marker is what markerKey holds while an install is being carried out: where its plan lies.
type marker struct {
	spool string
	plan  segment
}

func (m *marker) encode() []byte {
	b := []byte{metaFormat}
	b = binary.AppendUvarint(b, uint64(len(m.spool)))
	b = append(b, m.spool...)
	return appendSegments(b, []segment{m.plan})
}

func decodeMarker(b []byte) (m marker, err error) {
	d := fields{b: b}
	d.format()
	m.spool = string(d.bytes())
	segs := d.segments()
	if len(segs) != 1 {
		d.fail("%d plans", len(segs))
	}
	if err := d.end("marker of an install"); err != nil {
		return m, err
	}
	if _, n := ours(m.spool); n == 0 || !strings.HasPrefix(m.spool, spoolPrefix) {
		return m, damaged("marker of an install that names %q", m.spool)
	}
	m.plan = segs[0]
	return m, nil
}
