// Package progressbar shows the progress of a sync as the examples do it: on a terminal as one line that is drawn in place, elsewhere, such
// as in a log, as one plain line a second. It asks nobody: the program passes what kv.Node.Status says.
//
//	full   receiving   [############............]  51.2%  512.0 MiB of 1.0 GiB  812.4 MiB/s  1s left
package progressbar
