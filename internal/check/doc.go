// Package check explores every state of a small cluster.
package check
