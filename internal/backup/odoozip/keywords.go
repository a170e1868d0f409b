package odoozip

import (
	"bytes"
	"regexp"
	"unicode"
)

// keywords follows the words of a statement, as the body of a function may be BEGIN ATOMIC … END, with statements in it and with CASE … END.
type keywords struct {
	bodies  int // that are open, and CASEs in them
	current []byte
	before  string // the word before, if nothing but spaces came since
}

// longestKeyword is more than any that matters has.
const longestKeyword = 8

var routine = regexp.MustCompile(`(?is)^\s*CREATE\s+(OR\s+REPLACE\s+)?(FUNCTION|PROCEDURE)\b`) //nolint:gochecknoglobals // a constant expression

// read takes the next character of the statement that is so far; nested says that it is in parentheses, where all that is opened is closed again.
func (k *keywords) read(c byte, so []byte, nested bool) {
	if isWord(c) {
		if len(k.current) < longestKeyword {
			k.current = append(k.current, c)
		}
		return
	}
	if len(k.current) > 0 {
		word := string(bytes.ToLower(k.current))
		switch {
		case nested:
		case word == "atomic" && k.before == "begin" && routine.Match(so), word == "case" && k.bodies > 0:
			k.bodies++
		case word == "end" && k.bodies > 0:
			k.bodies--
		}
		k.before, k.current = word, k.current[:0]
	}
	if !unicode.IsSpace(rune(c)) {
		k.before = ""
	}
}
