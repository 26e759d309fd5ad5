package main

import (
	"math"
	"strconv"

	"github.com/hessonite/kv"
)

// add adds to the integer in a key, and answers the sum.
func (c *client) add(key []byte, by int64) {
	var sum int64
	_, _, ok := c.update(key, func(old kv.Item, found bool) change {
		var n int64
		if found {
			var err error
			if n, err = parseInt(old.Value); err != nil {
				return change{fault: notInteger}
			}
		}
		if by > 0 && n > math.MaxInt64-by || by < 0 && n < math.MinInt64-by {
			return change{fault: "ERR increment or decrement would overflow"}
		}
		sum = n + by
		return change{value: strconv.AppendInt(nil, sum, 10), opts: []kv.WriteOption{kv.KeepTTL()}}
	})
	if ok {
		c.int(sum)
	}
}

// parseInt reads an integer as Redis does: no sign of plus, no leading zeros, nothing around it.
func parseInt(b []byte) (int64, error) {
	if n, ok := shortInt(b); ok {
		return n, nil
	}
	if len(b) == 0 || len(b) > 20 {
		return 0, strconv.ErrSyntax
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return 0, err
	}
	if strconv.FormatInt(n, 10) != string(b) {
		return 0, strconv.ErrSyntax
	}
	return n, nil
}

func cmdIncrBy(c *client, args [][]byte) {
	n, err := parseInt(args[2])
	if err != nil {
		c.fail(notInteger)
		return
	}
	c.add(args[1], n)
}

func cmdDecrBy(c *client, args [][]byte) {
	n, err := parseInt(args[2])
	switch {
	case err != nil:
		c.fail(notInteger)
	case n == math.MinInt64:
		c.fail("ERR decrement would overflow")
	default:
		c.add(args[1], -n)
	}
}

// shortInt reads what is most of what a client sends: up to nine digits.
func shortInt(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 9 || b[0] == '0' {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, true
}
