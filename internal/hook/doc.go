// Package hook is how the tests of this module reach into a node: to fail at an exact step, to give it a clock that runs
// wrong, an engine that breaks. Nobody else can: a Set comes with the transport that a node is opened with (Carrier), and outside this
// module there is no name for it. Without one nothing is called.
package hook
