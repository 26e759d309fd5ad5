// Package disk is what this project itself changes in directories that must survive a loss of power.
//
// A file is there for good when its content was flushed and, besides, the directory that names it; a new directory when the one above it was. [FS] has
// just these operations, so that a test can put a disk in its place that keeps nothing else (package powerloss), or one that fails. What databases do
// with their own files does not go through it.
package disk
