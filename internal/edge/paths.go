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

// limited are routes that let a caller try passwords or that make a worker busy with one call: so many per address and second. What
// Odoo's own pages call, /web/dataset above all, isn't among them: one page makes twenty calls, and a whole office has one address.
var limited = [][]string{ //nolint:gochecknoglobals // a constant table
	{"web", "login"},
	{"web", "session", "authenticate"},
	{"web", "reset_password"},
	{"xmlrpc"},
	{"jsonrpc"},
	{"json", "2"},
}

// remote are routes that only programs call.
var remote = [][]string{{"xmlrpc"}, {"jsonrpc"}, {"json"}, {"web", "dataset"}} //nolint:gochecknoglobals // a constant table

// embeddable are Odoo's pages that are made to be shown inside other sites.
var embeddable = [][]string{{"slides", "embed"}, {"slides", "embed_external"}} //nolint:gochecknoglobals // a constant table

// internal are routes that a server may have for its operators; the world has no business there, whether they exist or not.
var internal = [][]string{{"metrics"}, {"debug"}, {"internal"}} //nolint:gochecknoglobals // a constant table

// pathKind is what a path is to the gate.
type pathKind int

const (
	pathPlain     pathKind = iota
	pathMalformed          // no client needs to write it like this
	pathForbidden
	pathJSONRPC // allowed, but the body has to be looked at
)

// pathClass is all that the gate wants to know of a path.
type pathClass struct {
	kind       pathKind
	limited    bool
	remote     bool
	embeddable bool
	internal   bool
}

// classify looks at a path as whoever decodes it the most times, and least exactly, would: encoded twice, doubled or backward slashes,
// parameters after semicolons, dots and capitals don't get around it.
func classify(u *url.URL) pathClass {
	text, ok := decode(u.EscapedPath())
	if !ok || !strings.HasPrefix(text, "/") {
		return pathClass{kind: pathMalformed}
	}
	literal := split(text)
	class := pathClass{embeddable: true, remote: anyLeads(remote, literal)}
	for _, segments := range [][]string{literal, split(path.Clean("/" + strings.Join(literal, "/")))} {
		class.embeddable = class.embeddable && anyLeads(embeddable, segments) // what loosens must hold however it is read
		class.limited = class.limited || anyLeads(limited, segments)
		class.internal = class.internal || anyLeads(internal, segments)
		switch {
		case anyLeads(forbidden, segments):
			class.kind = pathForbidden
		case class.kind == pathPlain && leads(segments, []string{"jsonrpc"}):
			class.kind = pathJSONRPC
		}
	}
	return class
}

func anyLeads(routes [][]string, segments []string) bool {
	return slices.ContainsFunc(routes, func(route []string) bool { return leads(segments, route) })
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

// split returns the segments in lower case, without parameters, dots at their ends and empty ones.
func split(text string) []string {
	var segments []string
	for segment := range strings.SplitSeq(strings.ReplaceAll(strings.ToLower(text), `\`, "/"), "/") {
		segment, _, _ = strings.Cut(segment, ";")
		if segment = strings.TrimSpace(segment); segment != ".." {
			segment = strings.TrimRight(segment, ". ")
		}
		if segment != "" {
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
