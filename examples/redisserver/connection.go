package main

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
)

var connectionCommands = []command{
	{name: "ping", arity: -1, flags: "fast", group: "connection", since: "1.0.0", summary: "Returns the server's liveliness response.", run: cmdPing},
	{name: "echo", arity: 2, flags: "fast", group: "connection", since: "1.0.0", summary: "Returns the given string.", run: func(c *client, a [][]byte) { c.value(a[1]) }},
	{name: "quit", arity: -1, anybody: true, flags: "fast", group: "connection", since: "1.0.0", summary: "Closes the connection.", run: cmdQuit},
	{name: "select", arity: 2, flags: "fast", group: "connection", since: "1.0.0", summary: "Changes the selected database.", run: cmdSelect},
	{name: "hello", arity: -1, anybody: true, flags: "fast", group: "connection", since: "6.0.0", summary: "Handshakes with the Redis server.", run: cmdHello},
	{name: "auth", arity: -2, anybody: true, flags: "fast", group: "connection", since: "1.0.0", summary: "Authenticates the connection.", run: cmdAuth},
	{name: "client", arity: -2, flags: "", group: "connection", since: "2.4.0", summary: "A container for client connection commands.", run: cmdClient},
	{name: "readonly", arity: 1, flags: "fast", group: "cluster", since: "3.0.0", summary: "Enables read-only queries for a connection to a Redis Cluster replica node.", run: cmdReadOnly},
	{name: "readwrite", arity: 1, flags: "fast", group: "cluster", since: "3.0.0", summary: "Enables read-write queries for a connection to a Redis Cluster replica node.", run: cmdReadWrite},
	{name: "asking", arity: 1, flags: "fast", group: "cluster", since: "3.0.0", summary: "Signals that a cluster client is following an -ASK redirect.", run: cmdAsking},
	{name: "command", arity: -1, flags: "", group: "server", since: "2.8.13", summary: "Returns detailed information about all commands.", run: cmdCommand},
}

func cmdPing(c *client, args [][]byte) {
	switch len(args) {
	case 1:
		c.simple("PONG")
	case 2:
		c.value(args[1])
	default:
		c.wrongNumber("ping")
	}
}

func cmdQuit(c *client, _ [][]byte) {
	c.ok()
	c.closing = true // when the answer is sent
}

func cmdSelect(c *client, args [][]byte) {
	switch n, err := parseInt(args[1]); {
	case err != nil:
		c.fail(notInteger)
	case n != 0 && c.s.cfg.clustered():
		c.fail("ERR SELECT is not allowed in cluster mode")
	case n != 0:
		c.fail("ERR DB index is out of range")
	default:
		c.ok()
	}
}

const wrongPassword = "WRONGPASS invalid username-password pair or user is disabled."

// authenticate checks a user, who can only be the default one, and a password; it answers an error.
func (c *client) authenticate(user, password []byte) bool {
	if string(user) != "default" || c.s.cfg.password != "" && !c.password(password) {
		c.fail(wrongPassword)
		return false
	}
	c.known = true
	return true
}

func cmdAuth(c *client, args [][]byte) {
	user := []byte("default")
	switch {
	case len(args) > 3:
		c.fail(syntaxError)
		return
	case len(args) == 3:
		user = args[1]
	case c.s.cfg.password == "":
		c.fail("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
		return
	}
	if c.authenticate(user, args[len(args)-1]) {
		c.ok()
	}
}

// HELLO [version [AUTH user password] [SETNAME name]]
func cmdHello(c *client, args [][]byte) {
	proto := c.proto
	if len(args) > 1 {
		n, err := parseInt(args[1])
		switch {
		case err != nil:
			c.fail("ERR Protocol version is not an integer or out of range")
			return
		case n != 2 && n != 3:
			c.fail("NOPROTO unsupported protocol version")
			return
		}
		proto = int(n)
	}
	name, named := "", false
	for i := 2; i < len(args); {
		switch word := strings.ToLower(string(args[i][:min(len(args[i]), 8)])); {
		case word == "auth" && i+2 < len(args):
			if !c.authenticate(args[i+1], args[i+2]) {
				return
			}
			i += 3
		case word == "setname" && i+1 < len(args):
			if name, named = string(args[i+1]), true; !validName(name) {
				c.fail(badName)
				return
			}
			i += 2
		default:
			c.fail("ERR Syntax error in HELLO option '" + clean(args[i][:min(len(args[i]), 64)]) + "'")
			return
		}
	}
	if !c.known {
		c.fail("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time")
		return
	}
	if named {
		c.name = name
	}
	c.proto = proto
	mode, role := "standalone", c.s.role()
	if c.s.cfg.clustered() {
		mode = "cluster"
	}
	c.dict(7)
	c.pair("server", "redis")
	c.pair("version", redisVersion)
	c.bulk("proto")
	c.int(int64(proto))
	c.bulk("id")
	c.int(c.id)
	c.pair("mode", mode)
	c.pair("role", role)
	c.bulk("modules")
	c.array(0)
}

const badName = "ERR Client names cannot contain spaces, newlines or special characters."

func validName(s string) bool {
	for i := range len(s) {
		if s[i] < '!' || s[i] > '~' {
			return false
		}
	}
	return len(s) <= 1024
}

// clientCommands are those of CLIENT: the number of words behind each, and what it does.
var clientCommands = map[string]struct {
	words int
	run   func(c *client, args [][]byte)
}{
	"id":      {0, func(c *client, _ [][]byte) { c.int(c.id) }},
	"setname": {1, clientSetName},
	"getname": {0, clientGetName},
	"setinfo": {2, clientSetInfo},
	"info":    {0, clientInfo},
}

func cmdClient(c *client, args [][]byte) {
	sub := strings.ToLower(string(args[1][:min(len(args[1]), 16)]))
	switch cmd, ok := clientCommands[sub]; {
	case !ok:
		c.noSubcommand(args)
	case len(args)-2 != cmd.words:
		c.wrongNumber("client|" + sub)
	default:
		cmd.run(c, args[2:])
	}
}

func clientSetName(c *client, args [][]byte) {
	if !validName(string(args[0])) {
		c.fail(badName)
		return
	}
	c.name = string(args[0])
	c.ok()
}

func clientGetName(c *client, _ [][]byte) {
	if c.name == "" {
		c.null()
		return
	}
	c.bulk(c.name)
}

// CLIENT SETINFO is checked as Redis does, and kept nowhere.
func clientSetInfo(c *client, args [][]byte) {
	switch attr := strings.ToLower(string(args[0][:min(len(args[0]), 16)])); {
	case attr != "lib-name" && attr != "lib-ver":
		c.fail("ERR Unrecognized option '" + clean(args[0][:min(len(args[0]), 64)]) + "'")
	case !validName(string(args[1])):
		c.fail("ERR " + attr + " cannot contain spaces, newlines or special characters.")
	default:
		c.ok()
	}
}

func clientInfo(c *client, _ [][]byte) {
	c.text(fmt.Sprintf("id=%d addr=%s name=%s age=%d db=0 resp=%d readonly=%d\n",
		c.id, c.conn.RemoteAddr(), c.name, int(sinceSeconds(c.since)), c.proto, btoi(c.readonly)))
}

func cmdReadOnly(c *client, _ [][]byte) {
	if !c.s.cfg.clustered() {
		c.fail(notClustered)
		return
	}
	c.readonly = true
	c.ok()
}

// ASKING has no effect: no slot is ever between two nodes.
func cmdAsking(c *client, _ [][]byte) {
	if !c.s.cfg.clustered() {
		c.fail(notClustered)
		return
	}
	c.ok()
}

func cmdReadWrite(c *client, _ [][]byte) {
	if !c.s.cfg.clustered() {
		c.fail(notClustered)
		return
	}
	c.readonly = false
	c.ok()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// platform is what INFO says of it.
func platform() string {
	return runtime.GOOS + " " + runtime.GOARCH + " " + strconv.Itoa(strconv.IntSize)
}
