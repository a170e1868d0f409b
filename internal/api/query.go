package api

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"controlplane/internal/errs"
)

// The bounds of a list's parameters.
const (
	maxSkip  = 1_000_000
	maxLimit = 1000
)

var errBadQuery = errs.New(errs.Malformed, "bad_query", "The query string can't be read.")

// query reads parameters and keeps the first thing that is wrong with them, so that handlers ask once, at the end.
type query struct {
	values url.Values
	err    error
}

// parseQuery is strict where URL.Query drops what it can't read.
func parseQuery(r *http.Request) *query {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return &query{err: errBadQuery.WithCause(err)}
	}
	return &query{values: values}
}

// text returns the last value of name, as the earlier API did, or "".
func (q *query) text(name string) string {
	all := q.values[name]
	if len(all) == 0 {
		return ""
	}
	v := all[len(all)-1]
	if !utf8.ValidString(v) || strings.ContainsFunc(v, unicode.IsControl) {
		q.refuse(name, "bad_characters", "may not contain control characters.")
		return ""
	}
	return v
}

// integer returns name's value, or def where it is absent; outside low..high is refused.
func (q *query) integer(name string, def, low, high int) int {
	v := q.text(name)
	if v == "" {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		q.refuse(name, "out_of_range", "must be a whole number from "+strconv.Itoa(low)+" to "+strconv.Itoa(high)+".")
		return def
	}
	return n
}

// page reads the two parameters of every list.
func (q *query) page() (skip, limit int) {
	return q.integer("skip", 0, 0, maxSkip), q.integer("limit", 100, 1, maxLimit)
}

func (q *query) boolean(name string) bool {
	switch v := strings.ToLower(q.text(name)); v {
	case "", "false", "0", "no", "off":
		return false
	case "true", "1", "yes", "on":
		return true
	}
	q.refuse(name, "wrong_type", "must be true or false.")
	return false
}

func (q *query) refuse(name, code, message string) {
	if q.err == nil {
		q.err = errs.InvalidField(name, code, name+" "+message)
	}
}
