package accounts

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"controlplane/internal/audit"
	"controlplane/internal/errs"
)

const (
	maxRawBytes   = 1024 // nothing longer is even normalised
	minUsername   = 3
	maxUsername   = 64
	maxEmail      = 254
	maxEmailLocal = 64
	maxFullName   = 200
)

// normalize trims s and makes it NFKC, which is also the form that is stored and shown.
func normalize(s string) string { return strings.TrimSpace(norm.NFKC.String(strings.TrimSpace(s))) }

// key is what must be unique: two names that differ only in case, width or composition have the same one.
func key(normalized string) string { return norm.NFKC.String(cases.Fold().String(normalized)) }

// loginKey returns the key that a login is looked up by, or "" for what can't be anybody's login.
func loginKey(login string) string {
	if len(login) > maxRawBytes || !utf8.ValidString(login) || strings.ContainsRune(login, 0) {
		return ""
	}
	return key(normalize(login))
}

// cleanUsername returns the form to store. A user name can't hold an "@", so it never is somebody's e-mail address, and has letters
// of one script only, so that a Cyrillic "а" can't pose as a Latin one. Look-alikes that are wholly of another script get through.
func cleanUsername(s string) (string, error) {
	bad := func(code, message string) (string, error) { return "", errs.InvalidField("username", code, message) }
	if len(s) > maxRawBytes || !utf8.ValidString(s) {
		return bad("invalid", "The user name is too long or isn't valid text.")
	}
	name := normalize(s)
	if n := utf8.RuneCountInString(name); n < minUsername || n > maxUsername {
		return bad("length", "The user name must have 3 to 64 characters.")
	}
	for i, r := range name {
		if !usernameRune(r) || i == 0 && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return bad("characters", "The user name must begin with a letter or digit and may hold letters, digits, single blanks and . _ - + '")
		}
	}
	if strings.Contains(name, "  ") {
		return bad("characters", "The user name can't hold several blanks in a row.")
	}
	if !oneScript(name) {
		return bad("mixed_scripts", "The user name can't mix letters of several scripts.")
	}
	switch k := key(name); {
	case utf8.RuneCountInString(k) > maxUsername:
		return bad("length", "The user name is too long.")
	case slices.Contains([]string{"system", Operator, audit.Support, "unknown"}, k): // actors in the activity log, some of earlier releases
		return bad("reserved", "That user name is reserved.")
	}
	return name, nil
}

func usernameRune(r rune) bool {
	if invisible(r) {
		return false
	}
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.In(r, unicode.Mn, unicode.Mc) || strings.ContainsRune("._-+' ", r)
}

// invisible reports whether r shows nothing or changes how its neighbours are shown: control, format and bidi characters,
// fillers, variation selectors, line separators, private and unassigned ones.
func invisible(r rune) bool {
	return !unicode.IsGraphic(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// oneScript reports whether the letters of s are of one script, where those that are always written together count as one.
func oneScript(s string) bool {
	seen := ""
	for _, r := range s {
		if script := scriptOf(r); script != "" && seen == "" {
			seen = script
		} else if script != "" && script != seen {
			return false
		}
	}
	return true
}

func scriptOf(r rune) string {
	if !unicode.IsLetter(r) || unicode.In(r, unicode.Common, unicode.Inherited) {
		return ""
	}
	if unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Bopomofo) {
		return "East Asian"
	}
	for name, table := range unicode.Scripts {
		if unicode.Is(table, r) {
			return name
		}
	}
	return "unknown"
}

var emailPattern = regexp.MustCompile( //nolint:gochecknoglobals // compiled once
	`^[A-Za-z0-9!#$%&'*+/=?^_{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_{|}~-]+)*@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]$`)

// ParseEmail returns an e-mail address as it is stored and shown, or an Invalid error on "email". Only ASCII addresses are taken:
// payment and mail services refuse others, and look-alikes can't occur. An internationalised domain has to be written in its xn-- form.
func ParseEmail(s string) (string, error) {
	bad := func(message string) (string, error) { return "", errs.InvalidField("email", "invalid", message) }
	if len(s) > maxRawBytes || !utf8.ValidString(s) {
		return bad("The e-mail address is too long or isn't valid text.")
	}
	email := normalize(s)
	if len(email) > maxEmail || strings.IndexByte(email, '@') > maxEmailLocal {
		return bad("The e-mail address is too long.")
	}
	if !emailPattern.MatchString(email) {
		return bad("The e-mail address isn't valid.")
	}
	return email, nil
}

// cleanFullName returns the form to store; "" means none. Joiners are allowed because some scripts need them within words.
func cleanFullName(s string) (string, error) {
	bad := func(message string) (string, error) { return "", errs.InvalidField("full_name", "invalid", message) }
	if len(s) > maxRawBytes || !utf8.ValidString(s) {
		return bad("The full name is too long or isn't valid text.")
	}
	name := strings.TrimSpace(norm.NFC.String(s))
	if utf8.RuneCountInString(name) > maxFullName {
		return bad("The full name can't have more than 200 characters.")
	}
	for _, r := range name {
		if invisible(r) && r != '\u200c' && r != '\u200d' {
			return bad("The full name can't hold control or invisible characters.")
		}
	}
	return name, nil
}
