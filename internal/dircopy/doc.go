// Package dircopy copies a directory as the death of a process would leave it, for tests.
package dircopy
