package main

import (
	"slices"
	"strings"
)

// command is one entry of the table that commands are found, checked and described by.
type command struct {
	name    string
	arity   int  // of words, the name included; negative: at least so many
	first   int  // index of the first key; 0: it has none
	last    int  // of the last; negative: from the end
	step    int  // between keys
	anybody bool // needs no password
	slow    bool // may take longer than -timeout; it bounds itself, or ends with the server
	flags   string
	group   string
	since   string
	summary string
	write   bool // one of the flags
	run     func(c *client, args [][]byte)
}

func (c *command) min() int {
	if c.arity < 0 {
		return -c.arity
	}
	return c.arity
}

// keys are the keys among the words of the command.
func (c *command) keys(args [][]byte) [][]byte {
	if c.first == 0 || c.first == c.last {
		return nil
	}
	last := c.last
	if last < 0 {
		last += len(args)
	}
	if c.step == 1 {
		return args[c.first : last+1]
	}
	var keys [][]byte
	for i := c.first; i <= last; i += c.step {
		keys = append(keys, args[i])
	}
	return keys
}

// commands are all commands by name; names are theirs in order.
var (
	commands = map[string]*command{}
	names    []string
)

func init() {
	for _, c := range slices.Concat(connectionCommands, stringCommands, keyCommands, serverCommands, replicationCommands) {
		c.write = strings.Contains(c.flags, "write")
		commands[c.name] = &c
		names = append(names, c.name)
	}
	slices.Sort(names)
}

// COMMAND [COUNT | LIST | DOCS [name …] | INFO [name …] | GETKEYS command …]
func cmdCommand(c *client, args [][]byte) {
	if len(args) == 1 {
		c.array(len(names))
		for _, n := range names {
			c.describe(commands[n])
		}
		return
	}
	switch sub := strings.ToLower(string(args[1])); sub {
	case "count":
		if len(args) > 2 {
			c.wrongNumber("command|count")
			return
		}
		c.int(int64(len(names)))
	case "list":
		c.bulks(names...)
	case "docs":
		c.docs(named(args[2:]))
	case "info":
		asked := named(args[2:])
		c.array(len(asked))
		for _, n := range asked {
			if cmd := commands[n]; cmd != nil {
				c.describe(cmd)
			} else {
				c.null()
			}
		}
	case "getkeys":
		if len(args) < 4 {
			c.wrongNumber("command|getkeys")
			return
		}
		c.getKeys(args[2:])
	default:
		c.noSubcommand(args)
	}
}

// named are the names in the words, all commands if there are none.
func named(words [][]byte) (out []string) {
	if len(words) == 0 {
		return names
	}
	for _, w := range words {
		out = append(out, strings.ToLower(string(w)))
	}
	return out
}

func (c *client) describe(cmd *command) {
	flags := strings.Fields(cmd.flags)
	c.array(10)
	c.bulk(cmd.name)
	c.int(int64(cmd.arity))
	c.set(len(flags))
	for _, f := range flags {
		c.simple(f)
	}
	c.int(int64(cmd.first))
	c.int(int64(cmd.last))
	c.int(int64(cmd.step))
	c.set(1)
	c.simple("@" + cmd.group)
	c.array(0) // tips
	c.array(0) // key specifications
	c.array(0) // subcommands
}

func (c *client) docs(asked []string) {
	asked = slices.DeleteFunc(slices.Clone(asked), func(n string) bool { return commands[n] == nil })
	c.dict(len(asked))
	for _, n := range asked {
		cmd := commands[n]
		c.bulk(n)
		c.dict(3)
		c.pair("summary", cmd.summary)
		c.pair("since", cmd.since)
		c.pair("group", cmd.group)
	}
}

func (c *client) getKeys(args [][]byte) {
	cmd := c.find(args[0])
	switch {
	case cmd == nil:
		c.fail("ERR Invalid command specified")
	case len(args) < cmd.min() || cmd.arity > 0 && len(args) != cmd.arity:
		c.fail("ERR Invalid number of arguments specified for command")
	case cmd.first == 0:
		c.fail("ERR The command has no key arguments")
	default:
		one := *cmd
		if one.first == one.last { // keys leaves out what needs no check
			c.bulks(string(args[one.first]))
			return
		}
		keys := one.keys(args)
		c.values(keys)
	}
}

// wrongNumber is the answer to too few or too many words.
func (c *client) wrongNumber(name string) {
	c.fail("ERR wrong number of arguments for '" + name + "' command")
}

// noSubcommand is the answer to a word that a command does not know.
func (c *client) noSubcommand(args [][]byte) {
	c.fail("ERR unknown subcommand '" + clean(args[1][:min(len(args[1]), 128)]) + "'. Try " + strings.ToUpper(string(args[0])) + " HELP.")
}
