package kvhttp

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	kv "github.com/hessonite/kv"
)

// Status is the handler of a node's status page, and of status.json beside it: see the package's comment. Make it right after the node is opened,
// and once: it shows the transitions that happened since. It observes the node until that is closed, and can still be asked then. Mount it at
// a path that ends in a slash.
func Status(n *kv.Node) http.Handler { return newStatus(n) }

// statusHandler is safe for concurrent use: the history has a lock, and all else is only read.
type statusHandler struct {
	node    source
	history *history
	page    *template.Template
	style   template.CSS
	script  template.JS
	policy  string
}

func newStatus(n source) *statusHandler {
	h := &statusHandler{node: n, history: &history{since: time.Now().UTC()}}
	t, style, script := parsePage()
	h.page, h.style, h.script = t, template.CSS(style), template.JS(script) //nolint:gosec // both are of page.html, and of nobody else
	// Nothing but the page's own style and script, and the page itself when it refreshes, is allowed: whatever an error's text says, it does nothing.
	h.policy = "default-src 'none'; style-src " + source256(style) + "; script-src " + source256(script) +
		"; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	n.Observe(h.history.add)
	return h
}

// source256 names a text by its hash, for a Content-Security-Policy.
func source256(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func (h *statusHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !readOnly(w, r) {
		return
	}
	switch {
	case path.Base(r.URL.Path) == "status.json" && !strings.HasSuffix(r.URL.Path, "/"):
		sendJSON(w, r, http.StatusOK, report(take(h.node), h.history))
	case strings.HasSuffix(r.URL.Path, "/"):
		h.sendPage(w, r)
	case r.URL.Path == "" && lastOf(r.RequestURI) != "":
		// Mounted by StripPrefix, and asked for without the slash that relative links need. The dot keeps a colon in a name from making it a scheme.
		w.Header().Set("Location", "./"+lastOf(r.RequestURI)+"/")
		w.WriteHeader(http.StatusMovedPermanently)
	case r.URL.Path == "":
		h.sendPage(w, r)
	default:
		http.Error(w, "here are a page, at a path that ends in a slash, and status.json beside it", http.StatusNotFound)
	}
}

// lastOf is the last part of a path as it was asked for, before a prefix was stripped; "" if it ends in a slash.
func lastOf(uri string) string {
	u, err := url.ParseRequestURI(uri)
	if err != nil {
		return ""
	}
	p := u.EscapedPath()
	return p[strings.LastIndexByte(p, '/')+1:]
}

func (h *statusHandler) sendPage(w http.ResponseWriter, r *http.Request) {
	p := makePage(take(h.node), h.history)
	p.Style, p.Script = h.style, h.script
	var b bytes.Buffer // whole or not at all
	if err := h.page.Execute(&b, p); err != nil {
		http.Error(w, "the page could not be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Security-Policy", h.policy)
	send(w, r, http.StatusOK, "text/html; charset=utf-8", b.Bytes())
}

// readOnly sets what every answer has, and refuses every method that could mean more than to look.
func readOnly(w http.ResponseWriter, r *http.Request) bool {
	head := w.Header()
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	head.Set("Allow", "GET, HEAD")
	http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
	return false
}

func sendJSON(w http.ResponseWriter, r *http.Request, code int, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	send(w, r, code, "application/json; charset=utf-8", append(b, '\n'))
}

func send(w http.ResponseWriter, r *http.Request, code int, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(body))) // HEAD tells it too
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // who asked may be gone
	}
}
