package main

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/png"
	"maps"
	"slices"
)

// shrink writes a picture with 256 colours at most: a page has few, and shades of them at the edges of letters. Colours that differ little share
// one place, that of the most frequent of them, so that the shades of one do not take the places of all.
func shrink(in []byte) ([]byte, error) {
	src, err := png.Decode(bytes.NewReader(in))
	if err != nil {
		return nil, err
	}
	b := src.Bounds()
	count := map[color.RGBA]int{}
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(src.At(x, y)).(color.RGBA) }
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			count[at(x, y)]++
		}
	}
	const alike = 0xf0
	best, sum := map[color.RGBA]color.RGBA{}, map[color.RGBA]int{}
	for _, c := range slices.SortedFunc(maps.Keys(count), byCount(count)) {
		near := color.RGBA{c.R & alike, c.G & alike, c.B & alike, c.A}
		if sum[near] += count[c]; sum[near] == count[c] {
			best[near] = c
		}
	}
	var palette color.Palette
	for _, near := range slices.SortedFunc(maps.Keys(sum), byCount(sum)) {
		if len(palette) < 256 {
			palette = append(palette, best[near])
		}
	}
	index := map[color.RGBA]uint8{}
	dst := image.NewPaletted(b, palette)
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			c := at(x, y)
			i, ok := index[c]
			if !ok {
				i = uint8(palette.Index(c))
				index[c] = i
			}
			dst.SetColorIndex(x, y, i)
		}
	}
	var out bytes.Buffer
	e := png.Encoder{CompressionLevel: png.BestCompression}
	err = e.Encode(&out, dst)
	return out.Bytes(), err
}

// byCount puts the most frequent colours first, and each in the same place whenever it is asked.
func byCount(count map[color.RGBA]int) func(c, d color.RGBA) int {
	return func(c, d color.RGBA) int {
		return cmp.Or(cmp.Compare(count[d], count[c]), cmp.Compare(c.R, d.R), cmp.Compare(c.G, d.G), cmp.Compare(c.B, d.B))
	}
}
