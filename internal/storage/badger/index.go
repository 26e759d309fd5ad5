package badger

import (
	"cmp"
	"strings"

	"github.com/tidwall/btree"
)

// indexLimit is how many items of a shard an index keeps.
const indexLimit = 4096

// item is an entry in an index: expiry or LSN, and the key with its slot.
type item struct {
	order uint64
	key   string
}

func (a item) less(b item) bool {
	return cmp.Or(cmp.Compare(a.order, b.order), strings.Compare(a.key, b.key)) < 0
}

// index holds the lowest items of a shard: the entries that expire first, or the oldest tombstones. It is exact below its bound,
// and knows nothing from there on; so its size is bounded, and it is filled again, by a pass over the shard, when it runs empty.
type index struct {
	tree  *btree.BTreeG[item] // nil: nothing
	bound *item               // nil: all items are here
}

func (x *index) add(it item) {
	if x.bound != nil && !it.less(*x.bound) {
		return
	}
	if x.tree == nil {
		x.tree = btree.NewBTreeGOptions(item.less, btree.Options{NoLocks: true, Degree: 16})
	}
	x.tree.Set(it)
	if x.tree.Len() > indexLimit {
		last, _ := x.tree.PopMax()
		x.bound = &last
	}
}

func (x *index) remove(it item) {
	if x.tree != nil {
		x.tree.Delete(it)
	}
}

// first is the lowest item. If there is none here, spent says whether there may be some that the index does not know.
func (x *index) first() (it item, ok, spent bool) {
	if x.tree != nil {
		if it, ok = x.tree.Min(); ok {
			return it, true, false
		}
	}
	return item{}, false, x.bound != nil
}

// each calls f with the items from the lowest on, until it returns false. It reports whether f has seen all that there are.
func (x *index) each(f func(item) bool) (all bool) {
	all = true
	if x.tree != nil {
		x.tree.Scan(func(it item) bool {
			all = f(it)
			return all
		})
	}
	return all && x.bound == nil
}

// forget makes the index one that knows nothing.
func (x *index) forget() { *x = index{bound: &item{}} }

// after is the item that follows another one, if the index knows it.
func (x *index) after(it item) (next item, ok bool) {
	if x.tree == nil {
		return item{}, false
	}
	x.tree.Ascend(it, func(n item) bool {
		if n == it {
			return true
		}
		next, ok = n, true
		return false
	})
	return next, ok
}
