// Package transport connects nodes by streams of frames.
package transport
