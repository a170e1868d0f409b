package edge

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
)

var (
	errDatabaseService = errors.New("a call of the database service")
	errOddEncoding     = errors.New("a JSON-RPC body in an encoding that can't be checked")
)

// inspectedAtOnce is how much of a body is looked at before an upstream is asked at all.
const inspectedAtOnce = 64 << 10

// guardRPC looks at the body of a JSON-RPC call for {"params": {"service": "db"}}. Whatever is further down than the first part is
// looked at as it streams by: the upstream then gets a body without an end, which it can't act on.
func guardRPC(r *http.Request) error {
	if r.Header.Get("Content-Encoding") != "" {
		return errOddEncoding
	}
	if _, params, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil {
		if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
			return errOddEncoding
		}
	}
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	guard := &rpcGuard{body: r.Body}
	first, err := io.ReadAll(io.LimitReader(guard, inspectedAtOnce))
	if err != nil {
		return err
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(first), guard), guard}
	return nil
}

// rpcGuard is a body that ends in an error as soon as it turns out to call the database service.
type rpcGuard struct {
	body    io.ReadCloser
	scanner rpcScanner
}

// Read passes on what is harmless.
func (g *rpcGuard) Read(p []byte) (int, error) {
	n, err := g.body.Read(p)
	if bad := g.scanner.scan(p[:n]); bad != nil {
		return 0, bad
	}
	return n, err
}

// Close closes the body.
func (g *rpcGuard) Close() error { return g.body.Close() }

// longestName is more than "service" and "db" take with every letter written as \uXXXX.
const longestName = 64

// rpcScanner follows the structure of a JSON text without keeping it: only names and values on its first two levels. It need not
// notice malformed JSON, which no JSON-RPC server acts on.
type rpcScanner struct {
	depth     int
	levels    [3]rpcLevel // of depth 1 and 2
	inString  bool
	escaped   bool
	text      []byte // of the present string, raw, up to longestName
	truncated bool
}

// rpcLevel is where we are in the object or array of one depth.
type rpcLevel struct {
	object  bool
	wantKey bool // the next string is a key
	key     string
}

func (s *rpcScanner) scan(data []byte) error {
	for _, c := range data {
		if c == 0 {
			return errOddEncoding // UTF-16 and UTF-32 have NULs in every ASCII character
		}
		if s.inString {
			if s.string(c) && s.endString() {
				return errDatabaseService
			}
			continue
		}
		if s.structure(c) {
			return errDatabaseService
		}
	}
	return nil
}

// string takes one byte inside a string and reports whether it was the last one.
func (s *rpcScanner) string(c byte) bool {
	if c == '"' && !s.escaped {
		s.inString = false
		return true
	}
	s.escaped = c == '\\' && !s.escaped
	if len(s.text) < longestName {
		s.text = append(s.text, c)
	} else {
		s.truncated = true
	}
	return false
}

// structure takes one byte outside strings. It reports whether params are a list: Odoo documents an object only, but turns a list of
// pairs into one, by which the service could be named where nobody looks.
func (s *rpcScanner) structure(c byte) bool {
	switch c {
	case '"':
		s.inString, s.escaped, s.truncated, s.text = true, false, false, s.text[:0]
	case '[':
		if top := &s.levels[1]; s.depth == 1 && top.object && !top.wantKey && top.key == "params" {
			return true
		}
		fallthrough
	case '{':
		if s.depth++; s.depth < len(s.levels) {
			s.levels[s.depth] = rpcLevel{object: c == '{', wantKey: c == '{'}
		}
	case '}', ']':
		s.depth = max(s.depth-1, 0)
	case ',', ':':
		if s.depth < len(s.levels) {
			s.levels[s.depth].wantKey = c == ',' && s.levels[s.depth].object
		}
	}
	return false
}

// endString reports whether the string that just ended is the forbidden one.
func (s *rpcScanner) endString() bool {
	if s.depth == 0 || s.depth >= len(s.levels) {
		return false
	}
	level := &s.levels[s.depth]
	if level.wantKey {
		level.key = s.value()
		return false
	}
	return s.depth == 2 && s.levels[1].object && s.levels[1].key == "params" && level.object && level.key == "service" &&
		strings.EqualFold(strings.TrimSpace(s.value()), "db")
}

// value returns the string as JSON means it; one too long to matter is "".
func (s *rpcScanner) value() string {
	var value string
	if s.truncated || json.Unmarshal([]byte(`"`+string(s.text)+`"`), &value) != nil {
		return ""
	}
	return value
}
