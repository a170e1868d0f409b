package domains

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

const maxNameBytes = 220 // DNS has 253; the proof's label goes in front

// profile maps what people type (case, full-width letters and dots) and refuses what no registry takes.
func profile() *idna.Profile {
	return idna.New(idna.MapForLookup(), idna.BidiRule(), idna.CheckJoiners(true), idna.CheckHyphens(true), idna.VerifyDNSLength(true), idna.Transitional(false))
}

// normal returns a domain as DNS has it; it refuses only what is none.
func (s *Service) normal(text string) (string, error) {
	text = strings.TrimSpace(text)
	if len(text) > 4*maxNameBytes || !utf8.ValidString(text) {
		return "", ErrBadDomain
	}
	name, err := s.idna.ToASCII(strings.TrimSuffix(text, "."))
	if err != nil {
		return "", ErrBadDomain.WithCause(err)
	}
	name = strings.TrimSuffix(name, ".")
	if again, err := s.idna.ToASCII(name); err != nil || again != name {
		return "", ErrBadDomain.WithCause(err)
	}
	return name, nil
}

// parse returns a domain that a client may claim, and how it is shown.
func (s *Service) parse(text string) (name, display string, err error) {
	if strings.Contains(text, "*") {
		return "", "", ErrBadDomain.WithMessage("Invalid domain format: wildcards can't be added, please name each domain")
	}
	if isAddress(text) {
		return "", "", ErrBadDomain.WithMessage("Invalid domain format: that is an IP address, not a domain")
	}
	if name, err = s.normal(text); err != nil {
		return "", "", err
	}
	suffix, managed := publicsuffix.PublicSuffix(name)
	switch {
	case !strings.Contains(name, ".") || len(name) > maxNameBytes:
		return "", "", ErrBadDomain
	case name == s.opts.BaseDomain || strings.HasSuffix(name, "."+s.opts.BaseDomain):
		return "", "", ErrBadDomain.WithMessage("Invalid domain format: addresses below %s are the platform's own", s.opts.BaseDomain)
	case s.reserved[name]:
		return "", "", ErrBadDomain.WithMessage("Invalid domain format: that address is the platform's own")
	case !managed && !strings.Contains(suffix, "."):
		return "", "", ErrBadDomain.WithMessage("Invalid domain format: .%s isn't a public ending", suffix)
	case suffix == name:
		return "", "", ErrBadDomain.WithMessage("Invalid domain format: %s is a public ending, below which anybody may have a domain", name)
	}
	if display, err = s.idna.ToUnicode(name); err != nil {
		display = name
	}
	return name, display, nil
}

// isAddress also knows those that only old programs take for one: no domain ends in digits.
func isAddress(text string) bool {
	text = strings.TrimRight(strings.Trim(strings.TrimSpace(text), "[]"), ".")
	_, err := netip.ParseAddr(text)
	last := text[strings.LastIndexByte(text, '.')+1:]
	return err == nil || last != "" && strings.Trim(last, "0123456789") == ""
}

// apex reports whether the domain is one that somebody has registered, which can't be an alias.
func apex(name string) bool {
	registered, err := publicsuffix.EffectiveTLDPlusOne(name)
	return err == nil && registered == name
}
