package invoicing

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"golang.org/x/text/unicode/norm"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/errs"
	"controlplane/internal/postgres"
)

// Profile is how a customer wants to be named on invoices that are issued from now on. What is "" isn't shown, but for the name: without
// one the account's stands.
type Profile struct {
	Name    string
	Address string // lines
	Country string // ISO 3166, "NG"
	TaxID   string
}

// ProfileInput is what is to be changed; nil leaves it as it is.
type ProfileInput struct {
	Name    *string
	Address *string
	Country *string
	TaxID   *string
}

// Profile returns p's own profile; one that was never set is empty.
func (s *Service) Profile(ctx context.Context, p accounts.Principal) (Profile, error) {
	return readProfile(ctx, s.deps.Pool, p.AccountID)
}

func readProfile(ctx context.Context, q postgres.Querier, id accounts.ID) (Profile, error) {
	var out Profile
	err := q.QueryRow(ctx, `SELECT name, address, country, tax_id FROM billing_profiles WHERE account_id = $1`, id).
		Scan(&out.Name, &out.Address, &out.Country, &out.TaxID)
	if err != nil && !postgres.NoRows(err) {
		return Profile{}, fmt.Errorf("read a billing profile: %w", err)
	}
	return out, nil
}

// UpdateProfile changes p's own profile. Invoices that are issued already stay as they are. Errors: Invalid.
func (s *Service) UpdateProfile(ctx context.Context, p accounts.Principal, ip netip.Addr, in ProfileInput) (Profile, error) {
	var out Profile
	err := postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		// The row is there and locked from here on, so that two changes of different fields don't undo each other.
		if _, err := tx.Exec(ctx, `INSERT INTO billing_profiles (account_id, updated_at) VALUES ($1, $2)
			ON CONFLICT (account_id) DO UPDATE SET updated_at = EXCLUDED.updated_at`, p.AccountID, s.now()); err != nil {
			return fmt.Errorf("open a billing profile: %w", err)
		}
		before, err := readProfile(ctx, tx, p.AccountID)
		if err != nil {
			return err
		}
		if out, err = in.on(before); err != nil || out == before {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE billing_profiles SET name = $2, address = $3, country = $4, tax_id = $5 WHERE account_id = $1`,
			p.AccountID, out.Name, out.Address, out.Country, out.TaxID)
		if err != nil {
			return fmt.Errorf("change a billing profile: %w", err)
		}
		return s.deps.Audit.RecordTx(ctx, tx, audit.Entry{
			AccountID: int64(p.AccountID), Actor: p.Username, Action: "account.billing_profile", IP: ip,
			Detail: audit.Diff(before.fields(), out.fields()),
		})
	})
	return out, err
}

func (p Profile) fields() map[string]any {
	return map[string]any{"name": p.Name, "address": p.Address, "country": p.Country, "tax_id": p.TaxID}
}

// on returns p with the changes, cleaned and checked.
func (in ProfileInput) on(p Profile) (Profile, error) {
	for _, f := range []struct {
		name   string
		value  *string
		target *string
		runes  int
		lines  int
	}{
		{"name", in.Name, &p.Name, 200, 1},
		{"address", in.Address, &p.Address, 500, 8},
		{"country", in.Country, &p.Country, 2, 1},
		{"tax_id", in.TaxID, &p.TaxID, 50, 1},
	} {
		if f.value == nil {
			continue
		}
		text, ok := cleanText(*f.value, f.runes, f.lines)
		if !ok {
			return Profile{}, errs.InvalidField(f.name, "invalid", fmt.Sprintf("%s must be text of at most %d characters, in at most %d lines.", f.name, f.runes, f.lines))
		}
		*f.target = text
	}
	p.Country = strings.ToUpper(p.Country)
	if p.Country != "" && !isCountry(p.Country) {
		return Profile{}, errs.InvalidField("country", "invalid", "country must be a code of two letters, like NG.")
	}
	return p, nil
}

func isCountry(code string) bool {
	return len(code) == 2 && code[0] >= 'A' && code[0] <= 'Z' && code[1] >= 'A' && code[1] <= 'Z'
}

// cleanText trims each line, drops empty ones, and refuses what can't be printed.
func cleanText(text string, runes, lines int) (string, bool) {
	if len(text) > 4*runes+64 || !utf8.ValidString(text) {
		return "", false
	}
	text = norm.NFC.String(strings.ReplaceAll(text, "\r\n", "\n"))
	var kept []string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsGraphic(r) && r != '\t' }) {
			return "", false
		}
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			kept = append(kept, line)
		}
	}
	text = strings.Join(kept, "\n")
	return text, len(kept) <= lines && utf8.RuneCountInString(text) <= runes
}
