package transport

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/hessonite/kv/cluster"
)

// identityScheme is the scheme of a URI that names a node.
const identityScheme = "hessonite"

// NodeURI is the name that a certificate gives to a node: put it among the certificate's URIs (subject alternative names).
// With a cluster ID that can be a host name (letters, digits, '-', '_', and dots between them) it is
//
//	hessonite://<cluster>/<node>
//
// and with any other, the empty one included, hessonite:///<cluster>/<node>. In the path every byte that is not
// a letter, a digit or one of "-_.~$&+=:@" is written as % and two hexadecimal digits, so that any two IDs fit.
// Both IDs count byte for byte: upper and lower case differ, and there are no wildcards.
func NodeURI(clusterID string, id cluster.NodeID) *url.URL {
	u := &url.URL{Scheme: identityScheme}
	segments := []string{string(id)}
	if hostLike(clusterID) {
		u.Host = clusterID
	} else {
		segments = []string{clusterID, string(id)}
	}
	u.Path = "/" + strings.Join(segments, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	u.RawPath = "/" + strings.Join(segments, "/")
	return u
}

// parseNodeURI reads what NodeURI wrote. It reports false for a URI that names no node.
func parseNodeURI(u *url.URL) (clusterID string, id cluster.NodeID, ok bool) {
	plain := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	if u.Scheme != identityScheme || plain != *u {
		return "", "", false // a user, a query or a fragment: whatever that means, it is no name
	}
	segments := strings.Split(strings.TrimPrefix(u.EscapedPath(), "/"), "/")
	for i, s := range segments {
		part, err := url.PathUnescape(s)
		if err != nil {
			return "", "", false
		}
		segments[i] = part
	}
	switch {
	case hostLike(u.Host) && len(segments) == 1:
		clusterID, id = u.Host, cluster.NodeID(segments[0])
	case u.Host == "" && len(segments) == 2:
		clusterID, id = segments[0], cluster.NodeID(segments[1])
	}
	return clusterID, id, id != ""
}

// hostLike reports whether s can stand where a URI has its host: as it is, without a port, in any library's reading.
func hostLike(s string) bool {
	if s == "" || len(s) > 253 || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// names checks that a certificate names the node. Its URIs decide if one of them is a node's. Otherwise its DNS names do, and if
// it has none of those either, its common name; these two hold in any cluster.
func names(cert *x509.Certificate, clusterID string, id cluster.NodeID) error {
	node, elsewhere := false, false
	for _, u := range cert.URIs {
		c, n, ok := parseNodeURI(u)
		if ok && n == id && c == clusterID {
			return nil
		}
		node = node || ok
		elsewhere = elsewhere || ok && n == id
	}
	switch {
	case elsewhere:
		return fmt.Errorf("%w: the certificate names %s", ErrWrongCluster, certNames(cert))
	case node:
	case slices.Contains(cert.DNSNames, string(id)):
		return nil
	case len(cert.DNSNames) == 0 && cert.Subject.CommonName == string(id):
		return nil
	}
	return fmt.Errorf("%w: the certificate names %s, not %q: issue one with the URI %s", ErrWrongPeer, certNames(cert), id, NodeURI(clusterID, id))
}

// maxShownNames limits how many names of a certificate an error shows.
const maxShownNames = 3

// certNames lists, for people, whom a certificate names.
func certNames(cert *x509.Certificate) string {
	var all []string
	for _, u := range cert.URIs {
		if _, _, ok := parseNodeURI(u); ok {
			all = append(all, u.String())
		}
	}
	if len(all) == 0 {
		all = slices.Clone(cert.DNSNames)
	}
	if len(all) == 0 && cert.Subject.CommonName != "" {
		all = []string{cert.Subject.CommonName}
	}
	for i, n := range all {
		all[i] = fmt.Sprintf("%.255q", n)
	}
	switch n := len(all); {
	case n == 0:
		return "nobody"
	case n > maxShownNames:
		return fmt.Sprintf("%s and %d more", strings.Join(all[:maxShownNames], ", "), n-maxShownNames)
	}
	return strings.Join(all, ", ")
}

// isIdentityError reports whether err is a certificate that names another than was expected.
func isIdentityError(err error) bool {
	return errors.Is(err, ErrWrongPeer) || errors.Is(err, ErrWrongCluster)
}
