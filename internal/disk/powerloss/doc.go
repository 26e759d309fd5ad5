// Package powerloss is a disk whose machine loses its power, for tests.
//
// A [Disk] passes everything on to the operating system, and remembers what was flushed. Between two flushes the machine may keep or lose each thing
// that was done, in any order: each name of a directory has one of the files that it stood for since the directory was flushed, and each file the
// content that was flushed, what was written since, or a part of that. [Disk.States] makes directories as they may be found afterwards. The model is that
// of Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014), for a file system that promises no more than POSIX does; writes are torn at any
// byte here, and a rename replaces its target in one step.
//
// Directories that somebody else writes to, such as a database, are foreign: how their files are is looked up, not watched. A file of such a directory that
// its owner flushes counts as it is; of others there is what was there when [Disk.Sync] was called for them, or what is there now. A file that somebody else
// made in a directory of our own counts as it is, if its name was flushed.
package powerloss
