package accounts_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
	"controlplane/internal/secrets"
)

func TestRegister(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a, err := b.Register(t.Context(), b.ip, accounts.RegisterInput{
		Email: "  Alice@Example.com ", Username: " Ａlice ", Password: password, FullName: new("  Alice Ångström "),
	})
	require.NoError(t, err)
	require.Positive(t, a.ID)
	require.Equal(t, "Alice@Example.com", a.Email)
	require.Equal(t, "Alice", a.Username, "full-width letters are stored as plain ones")
	require.Equal(t, "Alice Ångström", a.FullName)
	require.True(t, a.Active)
	require.False(t, a.Admin)

	again, err := b.Get(t.Context(), a.ID)
	require.NoError(t, err)
	require.Equal(t, a, again)
	require.Equal(t, []string{"Alice account.register"}, b.actions(t))

	var hash string
	require.NoError(t, b.pool.QueryRow(t.Context(), "SELECT password_hash FROM accounts").Scan(&hash))
	require.True(t, strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$"), hash)
}

func TestRegister_TakenHoweverItIsWritten(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.Register(t.Context(), b.ip, accounts.RegisterInput{Email: "strasse@example.com", Username: "Straße", Password: password})
	require.NoError(t, err)
	for name, in := range map[string]accounts.RegisterInput{
		"same name":        {Email: "x@example.com", Username: "Straße"},
		"folded":           {Email: "x@example.com", Username: "STRASSE"},
		"blanks around":    {Email: "x@example.com", Username: " \tstrasse\n"},
		"full width":       {Email: "x@example.com", Username: "ｓｔｒａｓｓｅ"},
		"e-mail in upper":  {Email: "STRASSE@EXAMPLE.COM", Username: "somebody"},
		"e-mail in blanks": {Email: " strasse@example.com ", Username: "somebody"},
		"e-mail wide":      {Email: "ｓtrasse＠example．com", Username: "somebody"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in.Password = password
			_, err := b.Register(t.Context(), b.ip, in)
			require.ErrorIs(t, err, accounts.ErrUserExists)
			require.Equal(t, errs.Malformed, errs.KindOf(err))
		})
	}
}

type rawInput struct{ email, username, password, fullName string }

func TestRegister_BadUserNames(t *testing.T) {
	t.Parallel()
	requireAllRefused(t, map[string]rawInput{
		"no user name":           {username: "-"},
		"short user name":        {username: "ab"},
		"long user name":         {username: strings.Repeat("a", 65)},
		"huge user name":         {username: strings.Repeat("x", 10_000)},
		"long after folding":     {username: strings.Repeat("ﷺ", 10)},
		"longer key than name":   {username: strings.Repeat("ß", 40)},
		"user name with at":      {username: "bob@example.com"},
		"full-width at":          {username: "bob＠example.com"},
		"NUL":                    {username: "ali\x00ce"},
		"new line":               {username: "ali\nce"},
		"escape":                 {username: "ali\x1bce"},
		"zero-width space":       {username: "ali\u200bce"},
		"zero-width joiner":      {username: "ali\u200dce"},
		"soft hyphen":            {username: "ali\u00adce"},
		"right-to-left override": {username: "ali\u202ece"},
		"byte order mark":        {username: "\ufeffalice"},
		"Hangul filler":          {username: "ali\u3164ce"},
		"grapheme joiner":        {username: "ali\u034fce"},
		"variation selector":     {username: "ali\ufe0fce"},
		"line separator":         {username: "ali\u2028ce"},
		"private use":            {username: "ali\ue000ce"},
		"tag characters":         {username: "alice\U000e0041"},
		"Cyrillic look-alike":    {username: "аlice"},
		"Greek look-alike":       {username: "alicε"},
		"emoji":                  {username: "alice😀"},
		"markup":                 {username: "<b>alice</b>"},
		"only blanks":            {username: "     "},
		"two blanks":             {username: "al  ice"},
		"begins with a dot":      {username: ".alice"},
		"begins with a mark":     {username: "\u0301alice"},
		"invalid UTF-8":          {username: "ali\xffce"},
		"surrogate":              {username: "ali\xed\xa0\x80ce"},
		"reserved":               {username: "System"},
		"reserved operator":      {username: "operator"},
	})
}

func TestRegister_BadInput(t *testing.T) {
	t.Parallel()
	requireAllRefused(t, map[string]rawInput{
		"no e-mail":                  {email: "-"},
		"no at":                      {email: "alice.example.com"},
		"two ats":                    {email: "a@b@example.com"},
		"no dot":                     {email: "a@localhost"},
		"dots in a row":              {email: "a..b@example.com"},
		"a number for a domain":      {email: "a@10.0.0.1"},
		"bracketed":                  {email: "a@[10.0.0.1]"},
		"display name":               {email: "Alice <a@example.com>"},
		"blank inside":               {email: "a b@example.com"},
		"header injection":           {email: "a@example.com\r\nBcc: b@example.com"},
		"NUL in e-mail":              {email: "a\x00@example.com"},
		"Cyrillic e-mail":            {email: "аlice@example.com"},
		"long local part":            {email: strings.Repeat("a", 65) + "@example.com"},
		"long e-mail":                {email: "a@" + strings.Repeat("abcdefghi.", 30) + "com"},
		"huge e-mail":                {email: strings.Repeat("x", 10_000) + "@example.com"},
		"invalid UTF-8 e-mail":       {email: "\xff@example.com"},
		"short password":             {password: "Aa1!aaa"},
		"long password":              {password: "Aa1!" + strings.Repeat("x", 97)},
		"huge password":              {password: "Aa1!" + strings.Repeat("x", 1_000_000)},
		"no upper":                   {password: "aaaaaaa1!"},
		"no lower":                   {password: "AAAAAAA1!"},
		"no digit":                   {password: "Aaaaaaaa!"},
		"no special":                 {password: "Aaaaaaaa1"},
		"hyphens aren't special":     {password: "Aaaaaa-_1"},
		"NUL in password":            {password: "Aaaaaa1!\x00"},
		"control in password":        {password: "Aaaaaa1!\x07"},
		"next line in password":      {password: "Aaaaaa1!\u0085"},
		"invalid UTF-8 in password":  {password: "Aaaaaa1!\xff"},
		"long full name":             {fullName: strings.Repeat("ä", 201)},
		"huge full name":             {fullName: strings.Repeat("x", 10_000)},
		"NUL in full name":           {fullName: "A\x00"},
		"bidi in full name":          {fullName: "A\u202eB"},
		"new line in full name":      {fullName: "A\nB"},
		"invalid UTF-8 in full name": {fullName: "\xff"},
	})
}

// requireAllRefused registers with each input, where empty fields are good ones and "-" stands for an empty one.
func requireAllRefused(t *testing.T, inputs map[string]rawInput) {
	t.Helper()
	b := setup(t)
	for name, in := range inputs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := accounts.RegisterInput{
				Email: either(in.email, "a@example.com"), Username: either(in.username, "alice"),
				Password: secrets.Secret(either(in.password, password.Reveal())),
			}
			if in.fullName != "" {
				bad.FullName = &in.fullName
			}
			_, err := b.Register(t.Context(), b.ip, bad)
			requireInvalid(t, err, 1)
		})
	}
}

func either(s, fallback string) string {
	if s == "-" {
		return ""
	}
	if s == "" {
		return fallback
	}
	return s
}

func requireInvalid(t *testing.T, err error, fields int) {
	t.Helper()
	require.Equal(t, errs.Invalid, errs.KindOf(err), "%v", err)
	var e *errs.Error
	require.ErrorAs(t, err, &e)
	require.Len(t, e.Fields, fields)
	require.NotEmpty(t, e.Message)
}

func TestRegister_TellsAllThatIsWrongAndChangesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.Register(t.Context(), b.ip, accounts.RegisterInput{Email: "x", Username: "y", Password: "z", FullName: new("\x00")})
	requireInvalid(t, err, 4)
	require.Zero(t, b.count(t, "accounts"))
	require.Zero(t, b.count(t, "activity_log"))
	require.NotContains(t, err.Error(), "z ")
}

func TestRegister_GoodNames(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, username := range []string{
		"bob", "user_123", "o'neill-x.y+z", "John Doe", "Jürgen", "Ольга", "አበበ_በቂላ", "山田たろう", "김철수99", "مريم", "नरेश", "9lives", strings.Repeat("n", 64),
	} {
		_, err := b.Register(t.Context(), b.ip, accounts.RegisterInput{
			Email: "e" + secrets.RandomHex(4) + "@mail.my-company.co.za", Username: username, Password: password,
		})
		require.NoError(t, err, username)
		_, err = b.Login(t.Context(), b.ip, username, password)
		require.NoError(t, err, username)
	}
}

func TestRegister_PasswordsAreNeverCutOff(t *testing.T) {
	t.Parallel()
	b := setup(t)
	long := secrets.Secret("Aa1!" + strings.Repeat("é", 96)) // 100 characters, 196 bytes
	_, err := b.Register(t.Context(), b.ip, accounts.RegisterInput{Email: "a@example.com", Username: "alice", Password: long})
	require.NoError(t, err)
	_, err = b.Login(t.Context(), b.ip, "alice", long)
	require.NoError(t, err)
	_, err = b.Login(t.Context(), b.ip, "alice", long[:len(long)-2])
	require.ErrorIs(t, err, accounts.ErrBadCredentials, "the last character counts")
	_, err = b.Login(t.Context(), b.ip, "alice", secrets.Secret(strings.ReplaceAll(long.Reveal(), "é", "e\u0301")))
	require.NoError(t, err, "it doesn't matter how the accent is composed")
}

func TestRegister_ParallelGivesOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var made, exists atomic.Int32
	var g errgroup.Group
	for i := range 12 {
		g.Go(func() error {
			in := accounts.RegisterInput{Email: "e" + secrets.RandomHex(4) + "@example.com", Username: "alice", Password: password}
			if i%2 == 0 {
				in.Username = "ALICE"
			}
			_, err := b.Register(t.Context(), b.ip, in)
			switch {
			case err == nil:
				made.Add(1)
			case errors.Is(err, accounts.ErrUserExists):
				exists.Add(1)
			default:
				return err
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, int32(1), made.Load())
	require.Equal(t, int32(11), exists.Load())
	require.Equal(t, 1, b.count(t, "accounts"))
}

func TestNewPassword_MeetsTheRule(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.Register(t.Context(), b.ip, accounts.RegisterInput{Email: "a@example.com", Username: "alice", Password: accounts.NewPassword()})
	require.NoError(t, err)
	first, second := accounts.NewPassword(), accounts.NewPassword()
	require.NotEqual(t, first, second)
}
