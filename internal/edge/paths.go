package edge

import (
	"net/url"
	"path"
	"slices"
	"strings"
)

// forbidden are routes of Odoo's database manager and database service; nobody needs them here, and whoever reached them could
// list, copy or drop databases. What lies below them is forbidden too.
var forbidden = [][]string{ //nolint:gochecknoglobals // a constant table
	{"web", "database"},
	{"xmlrpc", "db"},
	{"xmlrpc", "1", "db"},
	{"xmlrpc", "2", "db"},
}

// pathKind is what a path is to the gate.
type pathKind int

const (
	pathPlain     pathKind = iota
	pathMalformed          // no client needs to write it like this
	pathForbidden
	pathJSONRPC // allowed, but the body has to be looked at
)

// classify looks at a path as whoever decodes it the most times, and least exactly, would: encoded twice, doubled or backward slashes,
// parameters after semicolons, dots and capitals don't get around it.
func classify(u *url.URL) pathKind {
	text, ok := decode(u.EscapedPath())
	if !ok || !strings.HasPrefix(text, "/") {
		return pathMalformed
	}
	literal := split(text)
	kind := pathPlain
	for _, segments := range [][]string{literal, split(path.Clean("/" + strings.Join(literal, "/")))} {
		switch {
		case slices.ContainsFunc(forbidden, func(route []string) bool { return leads(segments, route) }):
			return pathForbidden
		case leads(segments, []string{"jsonrpc"}):
			kind = pathJSONRPC
		}
	}
	return kind
}

// decode undoes percent-encoding until nothing changes; more than three layers or control characters are nobody's honest path.
func decode(text string) (string, bool) {
	for range 4 {
		next, err := url.PathUnescape(text)
		if err != nil { // a lone percent sign, legal as the result of the first decoding
			next = text
		}
		if strings.ContainsFunc(next, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return "", false
		}
		if next == text {
			return text, true
		}
		text = next
	}
	return "", false
}

// split returns the segments in lower case, without parameters and empty ones.
func split(text string) []string {
	var segments []string
	for segment := range strings.SplitSeq(strings.ReplaceAll(strings.ToLower(text), `\`, "/"), "/") {
		segment, _, _ = strings.Cut(segment, ";")
		if segment = strings.TrimSpace(segment); segment != "" && segment != "." {
			segments = append(segments, segment)
		}
	}
	return segments
}

// leads reports whether the path starts with the route, also behind a language as Odoo's website puts one in front (/fr/web/…).
func leads(segments, route []string) bool {
	for skip := range 2 {
		if len(segments) >= skip+len(route) && slices.Equal(segments[skip:skip+len(route)], route) {
			return true
		}
	}
	return false
}
