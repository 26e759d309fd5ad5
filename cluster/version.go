package cluster

import (
	"fmt"
	"strconv"
	"strings"
)

// Version is a point in a group's history: the record with that LSN, given in that epoch. It is opaque to users of the store,
// who get it from one call and hand it to another. Versions are comparable with ==; the zero Version is none. Whether one lies
// in the past of a store is for the store's History to say.
type Version struct {
	group GroupID
	epoch Epoch
	lsn   LSN
}

// NewVersion is the version of a record.
func NewVersion(group GroupID, epoch Epoch, lsn LSN) Version {
	return Version{group: group, epoch: epoch, lsn: lsn}
}

// Group is the group whose log holds the record.
func (v Version) Group() GroupID { return v.group }

// Epoch is the epoch that the record was written in.
func (v Version) Epoch() Epoch { return v.epoch }

// LSN is the position of the record in the log.
func (v Version) LSN() LSN { return v.lsn }

// IsZero reports whether this is no version.
func (v Version) IsZero() bool { return v == Version{} }

// String writes the version as group-epoch-LSN: 32 hexadecimal digits and two decimal numbers. The zero Version is "".
func (v Version) String() string {
	if v.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s-%d-%d", v.group, uint64(v.epoch), uint64(v.lsn))
}

// ParseVersion reads what Version.String wrote, and nothing else. Errors match ErrInvalid.
func ParseVersion(s string) (Version, error) {
	if s == "" {
		return Version{}, nil
	}
	group, rest, _ := strings.Cut(s, "-")
	epoch, lsn, _ := strings.Cut(rest, "-")
	id, err1 := ParseID(group)
	e, err2 := strconv.ParseUint(epoch, 10, 64)
	l, err3 := strconv.ParseUint(lsn, 10, 64)
	v := NewVersion(GroupID(id), Epoch(e), LSN(l))
	if err1 != nil || err2 != nil || err3 != nil || v.String() != s {
		return Version{}, fmt.Errorf("%w: %q is not a version", ErrInvalid, s)
	}
	return v, nil
}

// MarshalText writes the version as String does.
func (v Version) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (v *Version) UnmarshalText(b []byte) error {
	p, err := ParseVersion(string(b))
	if err == nil {
		*v = p
	}
	return err
}
