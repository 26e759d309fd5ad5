package cluster

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// NodeID names a node. It is chosen by the operator, or generated when it is left empty, and is unique in a cluster.
type NodeID string

// Epoch numbers the reigns of a group. It rises by one at each reign, also when the same node comes back: no incarnation
// serves in an epoch that it did not open. Zero is no epoch.
type Epoch uint64

// LSN is the position of a record in a group's log: one more for each record. LSNs never restart within a store. Zero
// is before the first record.
type LSN uint64

// Incarnation is a random number that a node draws each time it is opened. Zero is none.
type Incarnation uint64

// ID is a random 128-bit name. The zero ID names nothing.
type ID [16]byte

// GroupID names a group: a primary and its replicas.
type GroupID ID

// StoreID is the identity of a node's data. It changes whenever data that was there may be missing.
type StoreID ID

// ReignID tells apart two reigns that bear the same epoch, which can happen only when a history was lost.
type ReignID ID

// TransitionID names one failover or hand-over of a group.
type TransitionID ID

// NewID draws a random ID.
func NewID() ID {
	var id ID
	rand.Read(id[:]) // never fails: crypto/rand ends the process rather than return weak numbers
	return id
}

// NewGroupID draws a random GroupID.
func NewGroupID() GroupID { return GroupID(NewID()) }

// NewStoreID draws a random StoreID.
func NewStoreID() StoreID { return StoreID(NewID()) }

// NewReignID draws a random ReignID.
func NewReignID() ReignID { return ReignID(NewID()) }

// NewTransitionID draws a random TransitionID.
func NewTransitionID() TransitionID { return TransitionID(NewID()) }

// NewIncarnation draws a random Incarnation other than zero.
func NewIncarnation() Incarnation {
	for {
		id := NewID()
		if n := binary.LittleEndian.Uint64(id[:]); n != 0 {
			return Incarnation(n)
		}
	}
}

// IsZero reports whether the ID names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// String is the ID in 32 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// ParseID reads what ID.String wrote.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) == 2*len(id) { // Decode does not look whether there is room
		if _, err := hex.Decode(id[:], []byte(s)); err == nil {
			return id, nil
		}
	}
	return ID{}, fmt.Errorf("%w: %q is not an ID of 32 hexadecimal digits", ErrInvalid, s)
}

// MarshalText writes the ID as String does.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(b []byte) error {
	v, err := ParseID(string(b))
	if err == nil {
		*id = v
	}
	return err
}

// IsZero reports whether the ID names nothing.
func (id GroupID) IsZero() bool { return id == GroupID{} }

// String is the ID in 32 hexadecimal digits.
func (id GroupID) String() string { return ID(id).String() }

// MarshalText writes the ID as String does.
func (id GroupID) MarshalText() ([]byte, error) { return ID(id).MarshalText() }

// UnmarshalText reads what MarshalText wrote.
func (id *GroupID) UnmarshalText(b []byte) error { return (*ID)(id).UnmarshalText(b) }

// IsZero reports whether the ID names nothing.
func (id StoreID) IsZero() bool { return id == StoreID{} }

// String is the ID in 32 hexadecimal digits.
func (id StoreID) String() string { return ID(id).String() }

// MarshalText writes the ID as String does.
func (id StoreID) MarshalText() ([]byte, error) { return ID(id).MarshalText() }

// UnmarshalText reads what MarshalText wrote.
func (id *StoreID) UnmarshalText(b []byte) error { return (*ID)(id).UnmarshalText(b) }

// IsZero reports whether the ID names nothing.
func (id ReignID) IsZero() bool { return id == ReignID{} }

// String is the ID in 32 hexadecimal digits.
func (id ReignID) String() string { return ID(id).String() }

// MarshalText writes the ID as String does.
func (id ReignID) MarshalText() ([]byte, error) { return ID(id).MarshalText() }

// UnmarshalText reads what MarshalText wrote.
func (id *ReignID) UnmarshalText(b []byte) error { return (*ID)(id).UnmarshalText(b) }

// IsZero reports whether the ID names nothing.
func (id TransitionID) IsZero() bool { return id == TransitionID{} }

// String is the ID in 32 hexadecimal digits.
func (id TransitionID) String() string { return ID(id).String() }

// MarshalText writes the ID as String does.
func (id TransitionID) MarshalText() ([]byte, error) { return ID(id).MarshalText() }

// UnmarshalText reads what MarshalText wrote.
func (id *TransitionID) UnmarshalText(b []byte) error { return (*ID)(id).UnmarshalText(b) }
