package paystack

import (
	"bytes"
	"encoding/json"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// The loose types accept any JSON value, as Paystack sends numbers as strings, "" or 0 or [] for "nothing", 0 and 1 for booleans, and
// changes its mind between endpoints. What isn't understood is "not set", and never an error: a field that isn't set can't match
// our own row, so being lenient here can't make a payment look paid.

// looseInt is a whole number, or not set.
type looseInt struct {
	value int64
	set   bool
}

// UnmarshalJSON accepts 5, "5", 5.0, 5e3; anything else is not set.
func (n *looseInt) UnmarshalJSON(text []byte) error {
	*n = looseInt{}
	s := strings.TrimSpace(string(text))
	if strings.HasPrefix(s, `"`) {
		var inner string
		_ = json.Unmarshal(text, &inner) // the decoder has checked the syntax
		s = strings.TrimSpace(inner)
	}
	if v, err := strconv.ParseInt(s, 10, 64); err == nil {
		*n = looseInt{value: v, set: true}
		return nil
	}
	if v, ok := wholeFloat(s); ok {
		*n = looseInt{value: v, set: true}
	}
	return nil
}

// wholeFloat is exact: 0.1+0.2 has no place near money.
func wholeFloat(s string) (int64, bool) {
	if len(s) == 0 || len(s) > 30 || strings.Trim(s, "0123456789+-.eE") != "" {
		return 0, false
	}
	if _, exponent, found := strings.Cut(strings.ToLower(s), "e"); found {
		if e, err := strconv.Atoi(exponent); err != nil || e > 18 || e < -18 {
			return 0, false // 1e999999999 would be a long computation
		}
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok || !r.IsInt() || !r.Num().IsInt64() {
		return 0, false
	}
	return r.Num().Int64(), true
}

// looseString is text; numbers are taken as written, everything else is "".
type looseString string

// UnmarshalJSON drops control characters, which neither logs nor PostgreSQL should see.
func (s *looseString) UnmarshalJSON(text []byte) error {
	*s = ""
	var inner string
	if json.Unmarshal(text, &inner) == nil {
		*s = looseString(strings.Map(printable, inner))
		return nil
	}
	var number json.Number
	if json.Unmarshal(text, &number) == nil {
		*s = looseString(number)
	}
	return nil
}

func printable(r rune) rune {
	if unicode.IsControl(r) || r == unicode.ReplacementChar {
		return -1
	}
	return r
}

// looseBool is true for true, 1, "true" and "1".
type looseBool bool

// UnmarshalJSON never fails; what isn't a yes is a no.
func (b *looseBool) UnmarshalJSON(text []byte) error {
	switch strings.ToLower(strings.Trim(string(text), `" `)) {
	case "true", "1":
		*b = true
	default:
		*b = false
	}
	return nil
}

// looseTime is a moment, or nil.
type looseTime struct{ at *time.Time }

// UnmarshalJSON accepts RFC 3339 with or without fraction, and the form without a zone, which is UTC.
func (t *looseTime) UnmarshalJSON(text []byte) error {
	t.at = nil
	var s string
	_ = json.Unmarshal(text, &s) // not text: no layout fits
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05"} {
		at, err := time.Parse(layout, strings.TrimSpace(s))
		if err == nil && at.Year() >= 2000 && at.Year() < 3000 {
			at = at.UTC()
			t.at = &at
			return nil
		}
	}
	return nil
}

func (t looseTime) orElse(other looseTime) *time.Time {
	if t.at != nil {
		return t.at
	}
	return other.at
}

// looseObject holds the members of a JSON object; null, "", 0, [] and everything else are an object without members.
type looseObject map[string]json.RawMessage

// UnmarshalJSON never fails.
func (o *looseObject) UnmarshalJSON(text []byte) error {
	*o = nil
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		var members map[string]json.RawMessage
		if json.Unmarshal(text, &members) == nil {
			*o = members
		}
	}
	return nil
}

// transaction is the inner object that refunds, disputes and invoices have.
func (o looseObject) transaction() looseObject {
	var inner looseObject
	_ = inner.UnmarshalJSON(o["transaction"]) // never fails
	return inner
}

// text returns a string or number member as text, "" when there is none.
func (o looseObject) text(name string) string {
	var s looseString
	_ = s.UnmarshalJSON(o[name]) // never fails
	return string(s)
}

// number returns a whole number, 0 when there is none.
func (o looseObject) number(name string) int64 {
	var n looseInt
	_ = n.UnmarshalJSON(o[name]) // never fails
	return n.value
}

func (o looseObject) yes(name string) bool {
	var b looseBool
	_ = b.UnmarshalJSON(o[name]) // never fails
	return bool(b)
}

// time returns the first member that is a moment, as there are two spellings of each.
func (o looseObject) time(names ...string) *time.Time {
	for _, name := range names {
		var t looseTime
		_ = t.UnmarshalJSON(o[name]) // never fails
		if t.at != nil {
			return t.at
		}
	}
	return nil
}
