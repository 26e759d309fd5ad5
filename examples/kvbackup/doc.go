// Kvbackup looks at backup files, without a node.
//
//	go run -C examples ./kvbackup verify FILE...
//	go run -C examples ./kvbackup info FILE
//
// verify reads each file to its end and says what it is of. Is one damaged, it says why and at which byte, and exits with status 1. Of several
// files it also says whether they can be restored as a chain, in that order.
//
// info says what a file is of, from its first sections. It does not say whether the rest is whole.
package main
