package powerloss

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hessonite/kv/internal/dircopy"
)

// State is a directory as the machine may find it when its power comes back.
type State struct {
	Dir  string // in the place of Options.Root
	What string // what was kept and what was lost
}

// States makes directories under dir as they may be if the power fails now: every one that is possible, or max of them if there are more: that in which
// everything was kept, that in which all that can be was lost, and of the others first those in which least was lost, or kept.
func (d *Disk) States(dir string, max int, rnd *rand.Rand) (states []State, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for range 10 { // a foreign directory may change meanwhile
		if states, err = d.states(dir, max, rnd); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return states, err
}

func (d *Disk) states(dir string, max int, rnd *rand.Rand) (states []State, err error) {
	if err := d.look(d.root, ""); err != nil {
		return nil, err
	}
	clear(d.lists)
	images, err := d.images(max, rnd)
	if err != nil {
		return nil, err
	}
	for _, im := range images {
		d.n++
		to := filepath.Join(dir, strconv.Itoa(d.n))
		if err := os.MkdirAll(to, 0o700); err != nil {
			return nil, err
		}
		for _, p := range im.parts {
			if err := p.write(filepath.Join(to, p.path)); err != nil {
				return nil, err
			}
		}
		states = append(states, State{to, im.String()})
	}
	return states, nil
}

// maxImages bounds how many images are thought of before a sample is taken.
const maxImages = 4096

// images are the different images that are possible, or a sample.
func (d *Disk) images(max int, rnd *rand.Rand) (all []*image, err error) {
	seen := map[string]bool{}
	add := func(c *choices) error {
		im := &image{c: c}
		if err := d.image(im, d.root, ""); err != nil {
			return err
		}
		if what := im.String(); !seen[what] {
			seen[what] = true
			all = append(all, im)
		}
		return nil
	}
	if err := add(&choices{last: true}); err != nil {
		return nil, err
	}
	c := &choices{}
	for range maxImages {
		if err := add(c); err != nil {
			return nil, err
		}
		if !c.next() {
			break
		}
	}
	if len(all) > max {
		// One thing lost, or one alone kept, is what is missed most often.
		rest := all[2:]
		rnd.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
		slices.SortStableFunc(rest, func(a, b *image) int { return min(a.lost, a.kept) - min(b.lost, b.kept) })
		all = all[:max]
	}
	return all, nil
}

// choices are the decisions of one image: next makes them those of the next one, in the manner of an odometer.
type choices struct {
	made, of []int
	at       int
	last     bool // always the last one: everything was kept
}

// choose is one of n possibilities.
func (c *choices) choose(n int) int {
	if c.last {
		return n - 1
	}
	if c.at == len(c.made) {
		c.made, c.of = append(c.made, 0), append(c.of, n)
	}
	c.at++
	return c.made[c.at-1]
}

func (c *choices) next() bool {
	c.at = 0
	for i := len(c.made) - 1; i >= 0; i-- {
		if c.made[i]++; c.made[i] < c.of[i] {
			return true
		}
		c.made, c.of = c.made[:i], c.of[:i]
	}
	return false
}

// image is what the disk may hold.
type image struct {
	c     *choices
	parts []part
	how   []string // what was chosen where there was a choice
	lost  int      // choices that are not the last one
	kept  int      // and those that are not the first
}

// part is a file or a directory of an image.
type part struct {
	path    string
	dir     bool
	content []byte
	from    string // a file or a directory to copy
	half    bool   // only the second half of the files of from
}

func (im *image) add(p part) { im.parts = append(im.parts, p) }

// choose is one of n possibilities for a path.
func (im *image) choose(path string, of ...string) int {
	n := im.c.choose(len(of))
	if len(of) > 1 {
		im.how = append(im.how, path+": "+of[n])
	}
	if n < len(of)-1 {
		im.lost++
	}
	if n > 0 {
		im.kept++
	}
	return n
}

func (im *image) String() string { return strings.Join(im.how, "; ") }

// image adds what a directory holds.
func (d *Disk) image(im *image, in *inode, rel string) error {
	for _, base := range slices.Sorted(maps.Keys(in.names)) {
		n, path := in.names[base], filepath.Join(rel, base)
		of := []*inode{n.flushed}
		how := []string{n.flushed.what("as it was flushed")}
		for i, is := range n.since {
			of = append(of, is)
			how = append(how, is.what(fmt.Sprintf("as of change %d of %d", i+1, len(n.since))))
		}
		is := of[im.choose(path, how...)]
		switch {
		case is == nil:
		case is.foreign && is.removed != "":
			half := im.choose(path, "half removed", "not removed") == 0
			im.add(part{path: path, from: is.removed, half: half})
		case is.foreign:
			im.add(part{path: path, dir: true})
			if err := d.foreign(im, is, path); err != nil {
				return err
			}
		case is.names != nil:
			im.add(part{path: path, dir: true})
			if err := d.image(im, is, path); err != nil {
				return err
			}
		case is.other:
			im.add(part{path: path, from: filepath.Join(d.o.Root, path)})
		default:
			im.add(part{path: path, content: is.choose(im, path)})
		}
	}
	return nil
}

// what says that a name stands for it, or for nothing.
func (in *inode) what(s string) string {
	if in == nil {
		return s + ": nothing"
	}
	return s
}

// choose is what a file may hold.
func (in *inode) choose(im *image, path string) []byte {
	n := len(in.writes)
	if n == 0 {
		return in.flushed
	}
	switch im.choose(path, "content as flushed", "zeros", "the last write torn", "all content") {
	case 0:
		return in.flushed
	case 1: // the length came, the data did not
		b := make([]byte, len(in.content(n)))
		copy(b, in.flushed)
		return b
	case 2:
		last := in.writes[n-1]
		b := in.content(n - 1)
		if last.off >= 0 {
			b = write{last.off, last.data[:len(last.data)/2]}.onto(b)
		}
		return b
	}
	return in.content(n)
}

// foreign adds the files of a foreign directory. Those of one kind (extension) are alike.
func (d *Disk) foreign(im *image, in *inode, rel string) error {
	list, ok := d.lists[rel]
	if !ok { // all images are of one moment
		var err error
		if list, err = os.ReadDir(filepath.Join(d.o.Root, rel)); err != nil {
			return err
		}
		d.lists[rel] = list
	}
	kinds := map[string]bool{}
	for _, f := range list {
		path := filepath.Join(rel, f.Name())
		if d.o.Flushed != nil && d.o.Flushed(f.Name()) {
			im.add(part{path: path, from: filepath.Join(d.o.Root, path)})
			continue
		}
		ext := filepath.Ext(f.Name())
		now, ok := kinds[ext]
		if !ok {
			now = im.choose(filepath.Join(rel, "*"+ext), "as flushed", "now") == 1
			kinds[ext] = now
		}
		if now {
			im.add(part{path: path, from: filepath.Join(d.o.Root, path)})
		} else if from := in.copies[f.Name()]; from != "" {
			im.add(part{path: path, from: from})
		}
	}
	return nil
}

// write makes a part.
func (p *part) write(to string) error {
	switch {
	case p.dir:
		return os.Mkdir(to, 0o700)
	case p.from == "":
		return os.WriteFile(to, p.content, 0o600)
	}
	info, err := os.Stat(p.from)
	if err == nil && !info.IsDir() {
		err = dircopy.File(p.from, to)
	} else if err == nil {
		if err = dircopy.Copy(p.from, to); err == nil && p.half {
			err = removeHalf(to)
		}
	}
	return err
}

func removeHalf(dir string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range list[:len(list)/2] {
		if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	return nil
}
