package cluster

import (
	"encoding/binary"
	"fmt"
)

// The numbers of the commands in their encoding. They are never used for another one.
const (
	codeAnnounce = 1 + iota
	codeOpenGroup
	codeAddSlots
	codeReleaseSlots
	codeAddMember
	codeConfirm
	codeShrink
	codeLeave
	codeBegin
	codePromote
	codeCancel
	codeForget
	codeReset
	codeSetLevel
)

// EncodeCommand writes a command. Errors match ErrInvalid: it is not one of this package's, is not given by value, or holds
// something that DecodeCommand would not take, such as a name that is too long. So what is in a log can be read.
func EncodeCommand(c Command) ([]byte, error) {
	b, err := encodeCommand(c)
	if err != nil {
		return nil, err
	}
	if _, err := DecodeCommand(b); err != nil {
		return nil, err
	}
	return b, nil
}

func encodeCommand(c Command) ([]byte, error) {
	b := []byte{formatVersion}
	switch c := c.(type) {
	case Announce:
		return appendNode(append(b, codeAnnounce), c.Node), nil
	case OpenGroup:
		b = append(b, codeOpenGroup)
		b = append(b, c.Group[:]...)
		b = appendText(b, c.Label)
		b = appendMember(b, c.Node)
		b = append(b, c.Reign[:]...)
		b = binary.AppendUvarint(b, uint64(c.First))
		b = appendFormer(appendSlots(b, c.Slots), c.Kept)
		return binary.AppendUvarint(b, c.View), nil
	case AddSlots:
		return appendFormer(appendSlots(appendOn(b, codeAddSlots, c.On), c.Slots), c.Kept), nil
	case ReleaseSlots:
		return appendSlots(appendOn(b, codeReleaseSlots, c.On), c.Slots), nil
	case AddMember:
		return appendMember(appendOn(b, codeAddMember, c.On), c.Member), nil
	case Confirm:
		return appendMember(appendMember(appendOn(b, codeConfirm, c.On), c.By), c.Member), nil
	case Shrink:
		return appendMember(appendMember(appendOn(b, codeShrink, c.On), c.By), c.Member), nil
	case Leave:
		return appendMember(appendOn(b, codeLeave, c.On), c.Member), nil
	case Begin:
		b = append(appendOn(b, codeBegin, c.On), byte(c.Kind))
		b = append(b, c.ID[:]...)
		return appendText(b, string(c.To)), nil
	case Promote:
		b = append(appendOn(b, codePromote, c.On), c.ID[:]...)
		b = appendMember(b, c.Primary)
		b = append(b, c.Reign[:]...)
		b = binary.AppendUvarint(b, uint64(c.First))
		b = binary.AppendUvarint(b, uint64(len(c.InSync)))
		for _, m := range c.InSync {
			b = appendMember(b, m)
		}
		return appendBool(b, c.Force), nil
	case Cancel:
		return append(appendOn(b, codeCancel, c.On), c.ID[:]...), nil
	case Forget:
		return appendMember(append(b, codeForget), c.Node), nil
	case Reset:
		b = appendMember(append(b, codeReset), c.Node)
		return append(b, c.Store[:]...), nil
	case SetLevel:
		return binary.AppendUvarint(append(b, codeSetLevel), uint64(c.Level)), nil
	}
	return nil, fmt.Errorf("%w: no command of type %T is known; commands are given by value", ErrInvalid, c)
}

func appendOn(b []byte, code byte, on On) []byte {
	b = append(b, code)
	b = append(b, on.Group[:]...)
	b = binary.AppendUvarint(b, uint64(on.Epoch))
	return binary.AppendUvarint(b, on.Version)
}

func (r *reader) on() On {
	return On{Group: GroupID(r.id()), Epoch: Epoch(r.number()), Version: r.number()}
}

// DecodeCommand reads what EncodeCommand wrote. The command owns all that it holds. Errors match ErrFormat. What b announces is not
// trusted: allocations are bounded by its length. Whether the command makes sense is for Apply to say.
func DecodeCommand(b []byte) (Command, error) {
	r := reader{b: b}
	r.version()
	c := r.command(r.byte())
	if err := r.end(); err != nil {
		return nil, err
	}
	return c, nil
}

func (r *reader) command(code byte) Command {
	switch code {
	case codeAnnounce:
		return Announce{Node: r.node()}
	case codeOpenGroup:
		return OpenGroup{Group: GroupID(r.id()), Label: r.text(MaxName), Node: r.member(), Reign: ReignID(r.id()), First: LSN(r.number()), Slots: r.slots(),
			Kept: r.former(), View: r.number()}
	case codeAddSlots:
		return AddSlots{On: r.on(), Slots: r.slots(), Kept: r.former()}
	case codeReleaseSlots:
		return ReleaseSlots{On: r.on(), Slots: r.slots()}
	case codeAddMember:
		return AddMember{On: r.on(), Member: r.member()}
	case codeConfirm:
		return Confirm{On: r.on(), By: r.member(), Member: r.member()}
	case codeShrink:
		return Shrink{On: r.on(), By: r.member(), Member: r.member()}
	case codeLeave:
		return Leave{On: r.on(), Member: r.member()}
	case codeBegin:
		return Begin{On: r.on(), Kind: TransitionKind(r.byte()), ID: TransitionID(r.id()), To: NodeID(r.text(MaxNodeID))}
	case codePromote:
		return r.promote()
	case codeCancel:
		return Cancel{On: r.on(), ID: TransitionID(r.id())}
	case codeForget:
		return Forget{Node: r.member()}
	case codeReset:
		return Reset{Node: r.member(), Store: StoreID(r.id())}
	case codeSetLevel:
		return SetLevel{Level: r.level()}
	}
	r.fail("command number %d is not known; a newer program wrote it", code)
	return nil
}

func (r *reader) promote() Command {
	p := Promote{On: r.on(), ID: TransitionID(r.id()), Primary: r.member(), Reign: ReignID(r.id()), First: LSN(r.number())}
	for range r.count(1 + len(StoreID{})) {
		p.InSync = append(p.InSync, r.member())
	}
	p.Force = r.bool()
	return p
}
