package tenants

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
)

const (
	minNameLength  = 3
	maxNameLength  = 40
	maxDomainBytes = 253
	maxReasonRunes = 500
	maxNotesRunes  = 10_000
)

// Errors about a name, each with a text that says what to change.
var (
	ErrBadName = errs.InvalidField("name", "invalid_name",
		"A name has 3 to 40 lower-case letters, digits and hyphens, and starts and ends with a letter or digit")
	ErrReservedName = errs.InvalidField("name", "reserved_name", "That name is reserved")
	ErrBadEmail     = errs.InvalidField("email", "invalid_email", "Not a valid e-mail address")
	ErrBadDomain    = errs.InvalidField("domain", "invalid_domain", "Invalid domain format")
	ErrBadNotes     = errs.InvalidField("notes", "invalid_notes", "Notes have at most 10,000 characters and no control characters")
)

var nameShape = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,38}[a-z0-9]$`)

// reservedNames can't be a client's: words of our API and front end's routes, hosts that a platform needs sooner or later, names
// that mail and DNS give a meaning to, PostgreSQL's own databases and roles, and what would pass for us in a phishing mail.
var reservedNames = wordSet(reservedWords) //nolint:gochecknoglobals // a constant table

const reservedWords = `
	www www1 www2 web api api-docs admin administrator root sysadmin superuser operator stats status pending new health ready live
	backup backups monitor monitoring metrics grafana prometheus alertmanager cleanup system internal private local localhost
	localdomain postgres postgresql template0 template1 pgbouncer redis database db mysql odoo odoo-db odoo-admin master demo-admin
	mail email smtp imap pop pop3 webmail mx mx1 mx2 autodiscover autoconfig postmaster hostmaster webmaster abuse noreply no-reply
	ftp sftp ssh vpn ns ns1 ns2 ns3 ns4 dns wpad isatap proxy gateway edge ingress
	support help helpdesk billing payment payments pay paystack checkout invoice invoices account accounts auth login logout
	signin signup register oauth sso password security docs doc blog news about contact pricing faq legal terms privacy
	cdn static assets media images img files download downloads upload uploads app apps dashboard console panel portal
	dev staging test testing prod production beta ci git registry docker
	server node client clients tenant tenants user users domain domains schedules operations webhook webhooks callback
	well-known xmlrpc jsonrpc websocket longpolling null undefined none true false`

func wordSet(words string) map[string]bool {
	set := map[string]bool{}
	for word := range strings.FieldsSeq(words) {
		set[word] = true
	}
	return set
}

// Reserved reports whether no client may have the name.
func Reserved(name string) bool { return reservedNames[name] }

// ParseName returns the name as stored: trimmed and in lower case, as front ends send it anyway. Errors: ErrBadName, ErrReservedName.
func ParseName(text string) (string, error) {
	// Only ASCII is lowered: ToLower would turn the Kelvin sign into a k.
	name := strings.Map(lowerASCII, strings.Trim(text, " \t\r\n"))
	if !nameShape.MatchString(name) || len(name) < minNameLength || len(name) > maxNameLength {
		return "", ErrBadName
	}
	// Hyphens in third and fourth place mark encoded labels (xn-- is an international name in disguise).
	if name[2:min(4, len(name))] == "--" {
		return "", ErrBadName.WithMessage("A name can't have hyphens in third and fourth place")
	}
	if Reserved(name) {
		return "", ErrReservedName
	}
	return name, nil
}

func lowerASCII(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}

// DBName returns the database and role name for a client's name. Different names may map to one: the table refuses the second.
func DBName(name string) string { return "odoo_" + strings.ReplaceAll(name, "-", "_") }

// parseEmail takes what an account's own address may be.
func parseEmail(text string) (string, error) {
	email, err := accounts.ParseEmail(text)
	if err != nil {
		return "", ErrBadEmail.WithCause(err)
	}
	return email, nil
}

// invisible is true for control and format characters (zero-width, bidirectional), and blanks of any kind.
func invisible(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.IsSpace(r)
}

// checkNotes allows line breaks and tabs but no other control characters.
func checkNotes(text string) error {
	control := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' }
	if !utf8.ValidString(text) || utf8.RuneCountInString(text) > maxNotesRunes || strings.ContainsFunc(text, control) {
		return ErrBadNotes
	}
	return nil
}

// parseReason returns what a person gave as a reason, without blanks around it. "" is none.
func parseReason(text string) (string, error) {
	text = strings.TrimSpace(text)
	if !utf8.ValidString(text) || utf8.RuneCountInString(text) > maxReasonRunes || strings.ContainsFunc(text, unicode.IsControl) {
		return "", ErrBadReason
	}
	return text, nil
}

// normalDomain returns a domain as we compare it: lower case, without blanks around it and the root's dot.
func normalDomain(text string) (string, error) {
	domain := strings.TrimSuffix(strings.ToLower(strings.TrimSpace(text)), ".")
	if len(domain) > maxDomainBytes || !utf8.ValidString(domain) || strings.ContainsFunc(domain, invisible) {
		return "", ErrBadDomain
	}
	return domain, nil
}

// platformLabel returns the label in front of base if domain is base's name or lies in it; "" is base itself.
func platformLabel(domain, base string) (label string, inside bool) {
	if domain == base {
		return "", true
	}
	rest, ok := strings.CutSuffix(domain, "."+base)
	if !ok {
		return "", false
	}
	return rest[strings.LastIndexByte(rest, '.')+1:], true
}
