// Package p9 is the file protocol between the sentry and its gofers: 9P2000.L over a unix
// stream socket, client and server, with extensions that are agreed on at Tversion.
//
// A message is size[4] type[1] tag[2] and a body of fixed layout, little-endian; a string is
// a 16-bit length and bytes. The layouts are listed beside the message types in protocol.go.
// Both sides encode and decode straight from and into a buffer (encoder, decoder): there are
// no message structs, no reflection, and no allocation but for the strings of a request.
//
// Extensions. A client that offers "9P2000.L.runsc.N" and a server that answers with the
// same may use, besides all of 9P2000.L, the messages from Twalkgetattr up, and replies may
// carry one open file descriptor each (SCM_RIGHTS). The highest N that both know is used; a
// plain 9P2000.L peer (Linux's v9fs for one) is served without them.
//
// Server. Serve runs one connection over a tree that an Attacher hands out as Nodes; an open
// Node is a Handle. The package keeps the fid table, checks every message and every name
// (no '/', no NUL, not empty, "." or ".."), honours Tflush and bounds what a client can make
// it hold; Nodes are asked from several goroutines at once. A malformed message that can
// still be told from its neighbours gets Rlerror; one that cannot ends the connection.
//
// Client. A Client multiplexes any number of goroutines over one socket. There is no reader
// goroutine: of the callers that wait, one reads the socket for all and passes the role on
// when its own reply has come, so that a lone caller sends and receives on its own thread.
// Nothing that a server sends is trusted: a reply of the wrong type, length or tag kills the
// connection, and every call on a dead connection returns EIO at once.
//
// Channels. A connection that is used much gets channels (channel.go): memory that both sides
// map, through which short requests go without a system call while the other side looks.
//
// Locks. Server: conn.recvMu (who reads) → conn.mu (fids, tags, channels) → fid.mu; conn.sendMu is
// taken last and alone. Client: Client.sendMu and Client.mu are never held together, and
// neither is held while a caller waits for a reply.
//
// Source: diod's protocol.md and Linux's Documentation/filesystems/9p.rst for 9P2000.L.
package p9
