// Yardstick answers GET with 100 bytes and SET with OK, whatever the key, and does nothing else: it holds nothing, and takes a request for nothing but its
// first line. What it reaches beside Redis is what is left to a server of Go's package net on a machine. It is for redis-benchmark only.
package main
