package provision

import (
	"regexp"
	"strings"

	"controlplane/internal/secrets"
)

const (
	struckOut      = "[redacted]"
	minKnownSecret = 6 // anything shorter would strike out words
)

// pattern is something that looks like a secret, and what is left of it.
type pattern struct {
	match *regexp.Regexp
	keep  string
}

// redactor strikes secrets out of a tenant's log: those that we gave it, wherever they stand, and what looks like one.
type redactor struct {
	known    *strings.Replacer
	patterns []pattern
}

func newRedactor(known ...secrets.Secret) *redactor {
	var pairs []string
	for _, s := range known {
		if len(s) >= minKnownSecret {
			pairs = append(pairs, s.Reveal(), struckOut)
		}
	}
	keep := func(expression, kept string) pattern {
		return pattern{regexp.MustCompile(expression), kept + struckOut}
	}
	return &redactor{known: strings.NewReplacer(pairs...), patterns: []pattern{
		// scheme://user:password@host, the password with an unescaped @ or not
		{regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/@"']*:)[^\s/"']+@`), "${1}" + struckOut + "@"},
		keep(`(?i)(\b(?:proxy-)?authorization\b\\*["']?\s*[:=]\s*\\*["']?)(?:(?:bearer|basic|digest|token)\s+)?[^\s"'\\]+`, "${1}"),
		keep(`(?i)(\bbearer\s+)[a-z0-9._~+/=-]{8,}`, "${1}"),
		keep(`(?i)(\b[a-z0-9_.-]*(?:passw(?:or)?d|passphrase|\bpwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|session[_-]?id)[a-z0-9_-]*\\*["']?\s*[:=]\s*)`+
			`(?:\[redacted\]|b?"(?:[^"\\]|\\.)*"?|b?'(?:[^'\\]|\\.)*'?|\\+".*?\\+"|\\+'.*?\\+'|[^\s&,;)}\]"']+)`, "${1}"),
		keep(`\b[sr]k_(?:live|test)_[A-Za-z0-9]+`, ""),
		keep(`\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?`, ""),
		keep(`\$(?:pbkdf2-sha[0-9]+|argon2id?|2[aby])\$[^\s"']+`, ""),
	}}
}

// line returns text without secrets. It errs on the side of striking out too much.
func (r *redactor) line(text string) string {
	text = r.known.Replace(text)
	for _, p := range r.patterns {
		text = p.match.ReplaceAllString(text, p.keep)
	}
	return text
}
