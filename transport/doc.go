// Package transport connects nodes by streams of frames. Everything that nodes say to each other goes through it: the
// replication log, checkpoints, forwarded requests and, by an adapter, Raft.
//
// # Streams
//
// A node has one [Transport]. It dials a [Peer] for a [Protocol], and the peer's handler of that protocol gets the other end of
// the [Stream]. When Dial returns, the peer has been identified and has taken the stream. A stream carries frames both
// ways, in order. It loses none in silence: either a frame arrives after all those before it, or the stream breaks at both
// ends. A broken stream stays broken; whoever opened it decides whether to dial again, and how to go on.
//
// There are three ways to the end of a stream:
//
//   - CloseWrite says that no more frames follow. The peer receives what was sent, then io.EOF, and may still send. Close
//     after CloseWrite loses nothing at a peer that goes on receiving.
//   - Close alone ends both directions at once. What is under way may be lost, and the peer gets ErrBroken. A handler that
//     returns closes its stream in this way: one that has answered calls CloseWrite first.
//   - The link breaks, the peer dies or falls silent, or breaks the protocol: ErrBroken, at both ends. Silence is measured:
//     an end that has nothing to say sends heartbeats, and one that hears nothing for the idle time-out gives up. A
//     peer that is alive but slow is not silent: Send waits for as long as its context allows.
//
// A cancelled Recv costs nothing. A cancelled Send breaks the stream, since nobody could tell what became of its frame.
//
// # Who owns bytes
//
// A [Frame] has a small head and an optional body, so that bulk bytes are sent from where they lie. From the call of Send
// on nobody may change them, also when it fails; one body may be sent on many streams at once. What arrives is read-only,
// too: in process it is the very memory that was sent.
//
// A received frame belongs to the receiver, who has the choice. Without Release it keeps the bytes for as long as it likes,
// and the garbage collector takes care of them. With Release it gives the memory back for the next frames, and must not
// look at it again. Over TCP a head or body above 2 KiB has a buffer of its own, which a keeper holds with no more than an
// eighth of slack; smaller ones share a chunk of 32 KiB, which the smallest kept part keeps alive: copy what is small and
// stays. A frame that was made with [NewFrame] and sent is released by the transport once its bytes are written, or
// lost; in process it is released by the receiver, if that does so.
//
// # Checksums
//
// Over TCP each frame bears a CRC-32C of its head and one of its body, and Recv gives out nothing that has not been verified by them. Who
// has a use of its own for the body's takes part in that: a sender that has computed it says so ([Frame.SetBodySum]), and a
// receiver asks for it ([Frame.BodySum]), so that either end looks at each byte once. The body of a checkpoint's section goes
// this way. In process nothing is computed: what the sender has said stays with the body, unless a fault puts another in its place.
//
// # What is here
//
// [NewNetwork] is a network within a process, with faults to order: partitions in one direction, hangs, cuts, deaths, delays,
// damage, and a hook ([Network.Intercept]) that puts them at an exact step of a protocol. It runs in virtual time in
// testing/synctest bubbles. [ListenTCP] is the network between processes, with or without TLS. Both fail alike, by a
// reset or by silence, and both pass the same suite.
//
// # Who is who under TLS
//
// With TLS a certificate says which node somebody is. These rules hold at both ends, byte for byte and without wildcards:
//
//  1. A certificate with URIs (subject alternative names) of the form hessonite://<cluster>/<node> names these nodes and no
//     other. [NodeURI] makes them, and says how IDs are escaped.
//  2. One without names the nodes whose IDs are among its DNS names, in any cluster.
//  3. One without either names the node that is its common name, in any cluster.
//
// A dial to Peer{ID: "b"} goes through only if the certificate of who answers names b, before anything is said, and a peer that
// says it is a only if its own names a. So whoever holds the key of one node can pass for no other. Other URIs, and names
// of hosts, mean nothing here: a node may move. [TCPOptions].TLSFiles is all that this needs; with TLS a program brings a
// configuration of its own. Streams are not cut when a certificate expires or is replaced: it is looked at when they are opened.
//
// # Strangers
//
// Anybody can connect to a port. Until a dialler has been identified it has one place among TCPOptions.MaxHandshakes, for at most
// TCPOptions.HandshakeTimeout, one goroutine, and what the handshake of TLS takes. When all places are taken a newcomer
// gets that of the oldest connection of the host that has the most (an IPv4 address, or 64 bits of an IPv6 one), so that
// neither ten thousand silent connections nor a host that opens them without end keep a node out. Identified peers are limited by
// MaxConns and MaxPeerConns. Whoever is refused is counted by reason ([Stats].RefusedFor), and each [Refusal] has a line in the
// log at most every ten seconds. What is not limited is how often somebody may come: where strangers can reach a port
// and burn processor time in TLS handshakes, a firewall belongs before it.
//
// # Versions
//
// Each end offers the oldest and the newest version of the frame format that it speaks, and the newest in common holds. What version
// 1 looks like is in testdata, and is read and written like that for as long as this package speaks it.
//
// # Writing another
//
// Implement [Transport] and [Stream] with the exported names of this package, and return its errors, wrapped, so that
// errors.Is finds them. Then run package transporttest on it: the suite is the contract, and its Example is a whole
// transport over net.Pipe in about 250 lines. In the order in which one meets them:
//
//  1. Dial returns only when the peer has said who it is and that it serves the protocol. Each way in which this can fail has an
//     error of its own.
//  2. Send takes the frame over and blocks while the peer is slow: bound what is queued, in bytes and in frames. Hold at least some
//     small frames in each direction, so that two ends that send first do not lock each other out.
//  3. Recv can be cancelled without harm. So whatever reads from the network must not be what waits for the context.
//  4. Every goroutine has an owner: remove waits for the handlers, Close for everything. Both close the streams first.
//  5. Frames carry checksums unless the layer below has them (TCP's 16 bits do not count). SetBodySum on a received frame is a promise
//     that its body was verified by that sum; a transport need neither ask for sums nor tell any. Limit the size of a
//     frame before memory is allocated for it, and allocate as bytes arrive, not as they are announced.
//  6. Notice silence. A peer that was stopped, or whose cable was pulled, sends no farewell.
//
// A transport that can do more says so by optional interfaces, such as [StatsProvider]; [Transport] itself does not grow.
package transport
