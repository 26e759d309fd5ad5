// Package cluster describes a cluster: its ids and slots, the history of a group, the View that everybody agrees on, and the
// Coordinator that decides how it changes.
package cluster
