// Package browser looks at the status page of package kvhttp as people do: in Chromium, at real nodes in real situations.
//
// It is a module of its own, since its tests need Chromium (Debian: apt-get install chromium) and fail without. Scenes are the situations;
// shots, the command, takes their pictures for the documentation:
//
//	go run -C kvhttp/browser ./shots -o ../../docs/images
package browser
