// Quickstart plays the failure that this library exists for, on real data: a replica's primary dies in the middle of the sync.
//
//	go run -C examples ./quickstart
//
// It loads every file below $(go env GOROOT)/src into a primary, attaches a replica over TCP, and stops the primary hard half-way.
// The replica gets out of recovery by itself, is given the slots, written and read. Then a new primary is brought up, and the
// replica syncs to the end; every byte on it is verified. With -dir DIR all of that happens on disk.
package main
