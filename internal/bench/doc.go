// Bench measures this library beside what one would take instead, in one run on one machine.
//
//	go run . -list                            the works that can be measured
//	go run . -what sync,writes -runs 5        measure, print tables with ratios, keep the figures in results.json
//	go run . -what all -scale 0.01            everything, with a hundredth of the entries: does it work?
//	go run . -render ../../docs/performance   write the plots and the tables from results.json, without measuring
//
// A work is done by lanes: this library in its variants, and its peers. Every lane of every run is a process of its own, so that no
// heap and no cache of one weighs on another; within a run the lanes take turns, so that what else the machine does hits all of them
// alike. What is compared are medians over the runs; the spread, (max − min) / median, stands beside them.
//
// Peers that are programs (redis-server) are looked for in PATH, and left out if they are not there.
package main
