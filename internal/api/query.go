package api

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"controlplane/internal/errs"
	"controlplane/internal/secrets"
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

// secret is text for what must not be shown again.
func (q *query) secret(name string) secrets.Secret { return secrets.Secret(q.text(name)) }

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

// id returns the id of something, or 0 where it is absent.
func (q *query) id(name string) int64 {
	v := q.text(name)
	if v == "" {
		return 0
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 1 {
		q.refuse(name, "wrong_type", "must be an id.")
		return 0
	}
	return n
}

// time returns a moment, or the zero Time where it is absent.
func (q *query) time(name string) time.Time {
	v := q.text(name)
	if v == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, v)
	if err != nil || at.Year() < 1 || at.Year() > 9999 {
		q.refuse(name, "wrong_type", "must be a time such as 2026-02-15T10:00:00Z.")
		return time.Time{}
	}
	return at
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
