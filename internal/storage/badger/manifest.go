package badger

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// manifestFile is Badger's list of its tables: a header, and entries that each name tables which came or went. All that Badger makes of it,
// it makes of its entries one by one, and one level that is out of range has it allocate that many.
const manifestFile = "MANIFEST"

const (
	manifestHeader = 8
	// maxLevels is the number of levels that Badger is opened with.
	maxLevels = 7
)

// readManifest is the list of tables, and whether the last entry of the file is cut short: by a loss of power while it was written, which
// Badger can deal with, or by something worse.
func readManifest(path string) (tables map[uint64]badger.TableManifest, torn bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, damaged("it is missing")
	}
	if err != nil {
		return nil, false, err
	}
	if err := checkManifest(data); err != nil {
		return nil, false, damaged("%w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	m, end, err := badger.ReplayManifestFile(f, 0, badger.Options{})
	if err != nil {
		return nil, false, damaged("%w", err)
	}
	for id, t := range m.Tables {
		if t.Compression != options.None || t.KeyID != 0 {
			return nil, false, damaged("table %d is compressed or encrypted (%d, key %d), as no release writes them", id, t.Compression, t.KeyID)
		}
	}
	return m.Tables, end < int64(len(data)), nil
}

// checkManifest looks at the entries of a list of tables that are whole. Whatever else is wrong with them, Badger says.
func checkManifest(data []byte) error {
	if len(data) < manifestHeader {
		return nil
	}
	for data = data[manifestHeader:]; len(data) >= 8; {
		size, sum := binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:])
		data = data[8:]
		if uint64(size) > uint64(len(data)) {
			return nil // cut short
		}
		entry := data[:size]
		data = data[size:]
		if crc32.Checksum(entry, castagnoli) != sum {
			return errors.New("an entry fails verification")
		}
		if !eachField(entry, checkChange) {
			return errors.New("an entry does not decode, or names a level that is out of range")
		}
	}
	return nil
}

// checkChange looks at a field of an entry: the only one that Badger knows holds what happens to one table, with its level in the third.
func checkChange(number, _ uint64, body []byte) bool {
	return number != 1 || eachField(body, func(number, v uint64, _ []byte) bool { return number != 3 || v < maxLevels })
}

// eachField calls f with each field of a protocol buffer, a number or bytes, until it returns false. It reports whether all went well.
func eachField(b []byte, f func(number, v uint64, body []byte) bool) bool {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return false
		}
		b = b[n:]
		v, body := uint64(0), []byte(nil)
		switch tag & 7 {
		case 0:
			if v, n = binary.Uvarint(b); n <= 0 {
				return false
			}
			b = b[n:]
		case 2:
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return false
			}
			body = b[n : n+int(size)]
			b = b[n+int(size):]
		default:
			return false // Badger writes no others
		}
		if !f(tag>>3, v, body) {
			return false
		}
	}
	return true
}

// decodeChecksum reads a checksum of CRC-32C, the only algorithm that is used here.
func decodeChecksum(b []byte) (sum uint64, err error) {
	ok := eachField(b, func(number, v uint64, body []byte) bool {
		if number == 2 && body == nil {
			sum = v
			return true
		}
		return number == 1 && body == nil && v == 0
	})
	if !ok || len(b) == 0 {
		return 0, errors.New("the footer is damaged, or the file was cut short")
	}
	return sum, nil
}
