package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strings"
)

// The size of a plot and of its frame, in pixels.
const (
	plotWidth, plotHeight   = 760, 420
	plotLeft, plotRight     = 84, 24
	plotTop, plotBottom     = 76, 58
	plotLetter, plotFont    = 7.2, 13 // the width of a letter, about
	plotText, plotGrid      = "#7a828c", "#7a828c"
	plotBarGap, plotBarRoom = 2, 0.78 // between bars; of a group's room
)

// plotColour is the colour of the i-th series: such ones, and such a grey for the text, that can be read on white as well as on black.
func plotColour(i int) string {
	c := []string{"#2f81f7", "#e8730c", "#1a9e55", "#b05ee6", "#d9405a", "#0f9ba8"}
	return c[i%len(c)]
}

// plotPoint is a figure, with the least and the greatest that was measured.
type plotPoint struct{ x, y, lo, hi float64 }

// lineChart is a chart with lines; both axes are logarithmic.
type lineChart struct {
	title, xName, yName string
	xTick, yTick        func(float64) string
	series              []lineSeries
}

type lineSeries struct {
	name   string
	points []plotPoint // by x
}

// barChart is a chart with a bar of each series in each group.
type barChart struct {
	title, yName string
	yTick        func(float64) string
	log          bool
	groups       []string
	series       []barSeries
}

type barSeries struct {
	name string
	bars []plotPoint // of each group; their x does not count. One that is zero is left out
}

// axis puts numbers to pixels.
type axis struct {
	log          bool
	least, most  float64
	first, last  float64 // pixels
	ticks, minor []float64
}

func (a *axis) at(v float64) float64 {
	lo, hi := a.least, a.most
	if a.log {
		v, lo, hi = math.Log(v), math.Log(lo), math.Log(hi)
	}
	if hi == lo {
		return (a.first + a.last) / 2
	}
	return a.first + (v-lo)/(hi-lo)*(a.last-a.first)
}

// logAxis has whole powers of ten at its ends and as ticks; where these are few, 2 and 5 times them too.
func logAxis(least, most, first, last float64) *axis {
	lo, hi := math.Floor(math.Log10(least)+1e-9), math.Ceil(math.Log10(most)-1e-9)
	if hi <= lo {
		hi = lo + 1
	}
	a := &axis{log: true, least: math.Pow(10, lo), most: math.Pow(10, hi), first: first, last: last}
	for e := lo; e <= hi; e++ {
		for m := 1.0; m < 10 && (e < hi || m == 1); m++ {
			v := m * math.Pow(10, e)
			if m == 1 || hi-lo <= 2 && (m == 2 || m == 5) {
				a.ticks = append(a.ticks, v)
			} else {
				a.minor = append(a.minor, v)
			}
		}
	}
	return a
}

// linearAxis begins at zero, and has four to eight ticks.
func linearAxis(most, first, last float64) *axis {
	step := math.Pow(10, math.Floor(math.Log10(most/4)))
	for _, m := range []float64{1, 2, 5} {
		if most/(step*m) <= 8 {
			step *= m
			break
		}
	}
	a := &axis{most: step * math.Ceil(most/step-1e-9), first: first, last: last}
	for i := 0; float64(i)*step <= a.most*(1+1e-9); i++ {
		a.ticks = append(a.ticks, float64(i)*step)
	}
	return a
}

// sketch is an SVG that is being written.
type sketch struct{ bytes.Buffer }

func newSketch(title string) *sketch {
	s := &sketch{}
	fmt.Fprintf(s, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img" font-family="system-ui, sans-serif" font-size="%d">`+"\n",
		plotWidth, plotHeight, plotFont)
	fmt.Fprintf(s, "<title>%s</title>\n", escape(title))
	s.text(plotLeft, 24, "start", title, `font-weight="600" font-size="15"`)
	return s
}

func (s *sketch) end() []byte {
	s.WriteString("</svg>\n")
	return s.Bytes()
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text))
	return b.String()
}

func (s *sketch) text(x, y float64, anchor, text, more string) {
	fmt.Fprintf(s, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s" %s>%s</text>`+"\n", x, y, anchor, plotText, more, escape(text))
}

func (s *sketch) line(x1, y1, x2, y2 float64, style string) {
	fmt.Fprintf(s, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" %s/>`+"\n", x1, y1, x2, y2, style)
}

// frame draws the vertical axis with its grid, the bottom line, and the names of both axes.
func (s *sketch) frame(y *axis, yTick func(float64) string, xName, yName string) {
	const right, bottom = plotWidth - plotRight, plotHeight - plotBottom
	for _, v := range y.minor {
		s.line(plotLeft, y.at(v), right, y.at(v), `stroke="`+plotGrid+`" stroke-opacity="0.12"`)
	}
	for _, v := range y.ticks {
		s.line(plotLeft, y.at(v), right, y.at(v), `stroke="`+plotGrid+`" stroke-opacity="0.3"`)
		s.text(plotLeft-8, y.at(v)+4, "end", yTick(v), "")
	}
	s.line(plotLeft, bottom, right, bottom, `stroke="`+plotGrid+`"`)
	s.text((plotLeft+right)/2, plotHeight-14, "middle", xName, "")
	s.text(0, 0, "middle", yName, fmt.Sprintf(`transform="translate(18 %d) rotate(-90)"`, (plotTop+bottom)/2))
}

// legend names the series below the title; one alone needs none.
func (s *sketch) legend(names []string) {
	if len(names) < 2 {
		return
	}
	x := float64(plotLeft)
	for i, n := range names {
		fmt.Fprintf(s, `<rect x="%.1f" y="42" width="12" height="12" rx="2" fill="%s"/>`+"\n", x, plotColour(i))
		s.text(x+18, 53, "start", n, "")
		x += 42 + plotLetter*float64(len([]rune(n)))
	}
}

// whisker shows how far the runs lie apart.
func (s *sketch) whisker(x float64, y *axis, p plotPoint) {
	if p.lo <= 0 || p.lo == p.hi {
		return
	}
	s.line(x, y.at(max(p.lo, y.least)), x, y.at(p.hi), `stroke="`+plotText+`" stroke-width="1.5"`)
}

// rangeOf is the range of all that is drawn; false if that is nothing, or if something of it cannot be drawn.
func rangeOf(points []plotPoint) (least, most float64, ok bool) {
	if len(points) == 0 {
		return 0, 0, false
	}
	least, most = math.Inf(1), 0
	for _, p := range points {
		for _, v := range []float64{p.y, p.lo, p.hi} {
			if !(v > 0) || math.IsInf(v, 0) {
				return 0, 0, false
			}
			least, most = min(least, v), max(most, v)
		}
	}
	return least, most, true
}

// svg draws the chart; nil if there is nothing to draw.
func (c *lineChart) svg() []byte {
	var all []plotPoint
	var names []string
	for _, s := range c.series {
		all, names = append(all, s.points...), append(names, s.name)
	}
	least, most, ok := rangeOf(all)
	if !ok {
		return nil
	}
	y := logAxis(least, most, plotHeight-plotBottom, plotTop)
	x := &axis{log: true, first: plotLeft + 24, last: plotWidth - plotRight - 24}
	for _, p := range all {
		x.ticks = append(x.ticks, p.x) // what was measured, not what is round
	}
	slices.Sort(x.ticks)
	x.ticks = slices.Compact(x.ticks)
	x.least, x.most = x.ticks[0], x.ticks[len(x.ticks)-1]
	s := newSketch(c.title)
	s.legend(names)
	s.frame(y, c.yTick, c.xName, c.yName)
	for _, v := range x.ticks {
		s.line(x.at(v), plotHeight-plotBottom, x.at(v), plotHeight-plotBottom+5, `stroke="`+plotGrid+`"`)
		s.text(x.at(v), plotHeight-plotBottom+20, "middle", c.xTick(v), "")
	}
	for i, one := range c.series {
		s.lineOf(one.points, x, y, plotColour(i))
	}
	return s.end()
}

func (s *sketch) lineOf(points []plotPoint, x, y *axis, colour string) {
	var path []string
	for _, p := range points {
		path = append(path, fmt.Sprintf("%.1f,%.1f", x.at(p.x), y.at(p.y)))
	}
	fmt.Fprintf(s, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(path, " "), colour)
	for _, p := range points {
		s.whisker(x.at(p.x), y, p)
		fmt.Fprintf(s, `<circle cx="%.1f" cy="%.1f" r="4" fill="%s"><title>%s</title></circle>`+"\n", x.at(p.x), y.at(p.y), colour, number(p.y))
	}
}

// svg draws the chart; nil if there is nothing to draw.
func (c *barChart) svg() []byte {
	var all []plotPoint
	var names []string
	for _, s := range c.series {
		names = append(names, s.name)
		for _, p := range s.bars {
			if p.y != 0 {
				all = append(all, p)
			}
		}
	}
	least, most, ok := rangeOf(all)
	if !ok {
		return nil
	}
	const bottom = float64(plotHeight - plotBottom)
	y := linearAxis(most, bottom, plotTop)
	if c.log {
		y = logAxis(least, most, bottom, plotTop)
	}
	s := newSketch(c.title)
	s.legend(names)
	s.frame(y, c.yTick, "", c.yName)
	room := float64(plotWidth-plotLeft-plotRight) / float64(len(c.groups))
	width := min(room*plotBarRoom/float64(len(c.series)), 90)
	for g, name := range c.groups {
		middle := plotLeft + room*(float64(g)+0.5)
		s.text(middle, bottom+20, "middle", name, "")
		for i, one := range c.series {
			p := one.bars[g]
			if p.y == 0 {
				continue
			}
			x, top := middle+width*(float64(i)-float64(len(c.series))/2), y.at(p.y)
			fmt.Fprintf(s, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"><title>%s</title></rect>`+"\n",
				x+plotBarGap/2, top, width-plotBarGap, bottom-top, plotColour(i), number(p.y))
			s.whisker(x+width/2, y, p)
			if len(c.series) == 1 { // beside others there is no room
				s.text(x+width/2, y.at(max(p.y, p.hi))-6, "middle", c.yTick(p.y), "")
			}
		}
	}
	return s.end()
}
