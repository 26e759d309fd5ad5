package main

import (
	"bytes"
	"net"
	"strconv"
	"strings"
)

// CONFIG GET pattern … | RESETSTAT
func cmdConfig(c *client, args [][]byte) {
	switch sub := strings.ToLower(string(args[1][:min(len(args[1]), 16)])); {
	case sub == "get" && len(args) == 2:
		c.wrongNumber("config|get")
	case sub == "get":
		c.configGet(args[2:])
	case sub == "resetstat" && len(args) == 2:
		c.count()
		for _, n := range []interface{ Store(int64) }{&c.s.stats.connections, &c.s.stats.commands, &c.s.stats.hits, &c.s.stats.misses, &c.s.stats.errors} {
			n.Store(0)
		}
		c.ok()
	case sub == "set" || sub == "rewrite":
		c.fail("ERR settings are given as flags when the server is started; CONFIG " + strings.ToUpper(sub) + " is not supported")
	default:
		c.noSubcommand(args)
	}
}

// configGet answers a setting under the name that was asked for, if that was one name and no pattern.
func (c *client) configGet(patterns [][]byte) {
	var found [][2]string
	for _, s := range c.s.settings() {
		for _, p := range patterns {
			if !match(bytes.ToLower(p), []byte(s[0])) {
				continue
			}
			if strings.EqualFold(string(p), s[0]) {
				s[0] = string(p)
			}
			found = append(found, s)
			break
		}
	}
	c.dict(len(found))
	for _, f := range found {
		c.pair(f[0], f[1])
	}
}

// settings are those of this server under Redis' names, in order. The password is none of them.
func (s *server) settings() [][2]string {
	yes := func(b bool) string {
		if b {
			return "yes"
		}
		return "no"
	}
	return [][2]string{
		{"appendonly", "no"},
		{"bind", host(s.clients.Addr().String())},
		{"cluster-enabled", yes(s.cfg.clustered())},
		{"cluster-require-full-coverage", "no"},
		{"databases", "1"},
		{"dir", s.cfg.dir},
		{"maxmemory", strconv.FormatInt(s.cfg.maxMemory, 10)},
		{"maxmemory-policy", "noeviction"},
		{"min-replicas-to-write", strconv.Itoa(max(s.cfg.minInSync-1, 0))},
		{"port", port(s.clients.Addr().String())},
		{"proto-max-bulk-len", strconv.Itoa(maxRequest)},
		{"save", ""},
		{"tcp-keepalive", "15"},
		{"timeout", "0"},
	}
}

func host(addr string) string {
	h, _, _ := net.SplitHostPort(addr)
	return h
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}
