package provision

import (
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/secrets"
)

func TestRedactor(t *testing.T) {
	t.Parallel()
	r := newRedactor("kUnX3pTq9LmZ2vBs", "", "admin", "k$t.w0rd+x")
	tests := map[string]struct{ text, want string }{
		"ours":                  {"login with kUnX3pTq9LmZ2vBs failed", "login with [redacted] failed"},
		"ours inside a word":    {"xkUnX3pTq9LmZ2vBsx", "x[redacted]x"},
		"ours isn't a pattern":  {"saw k$t.w0rd+x twice k$t.w0rd+x", "saw [redacted] twice [redacted]"},
		"too short to be ours":  {"admin logged in", "admin logged in"},
		"URL":                   {"connect to postgres://odoo_acme:s3cr3t@10.0.0.5:5432/odoo_acme", "connect to postgres://odoo_acme:[redacted]@10.0.0.5:5432/odoo_acme"},
		"URL, password with @":  {"smtp://me:p@ss@mail.example.com", "smtp://me:[redacted]@mail.example.com"},
		"URL without password":  {"GET http://acme.example.com:8069/web?mail=a@b.c", "GET http://acme.example.com:8069/web?mail=a@b.c"},
		"authorization":         {"Authorization: Bearer abcdefgh12345678 next", "Authorization: [redacted] next"},
		"authorization, basic":  {`"authorization": "Basic dXNlcjpwYXNz"`, `"authorization": "[redacted]"`},
		"authorization, header": {"{'Authorization': 'Token 0123456789'}", "{'Authorization': '[redacted]'}"},
		"bearer alone":          {"sent bearer abcdefgh12345678", "sent bearer [redacted]"},
		"password":              {"db_password=hunter2 host=x", "db_password=[redacted] host=x"},
		"passwd":                {"admin_passwd = hunter2", "admin_passwd = [redacted]"},
		"quoted":                {`{"password": "hun ter\"2", "login": "ada"}`, `{"password": [redacted], "login": "ada"}`},
		"quoted, no end":        {`{"password": "hun ter`, `{"password": [redacted]`},
		"escaped":               {`"{\"api_key\": \"hun ter2\", \"a\": 1}"`, `"{\"api_key\": [redacted], \"a\": 1}"`},
		"python":                {`{'client_secret': 'hunter2', 'a': b'1'}`, `{'client_secret': [redacted], 'a': b'1'}`},
		"query":                 {"GET /web?access_token=abc123&x=1 200", "GET /web?access_token=[redacted]&x=1 200"},
		"cookie":                {"Cookie: session_id=0123abc; lang=en", "Cookie: session_id=[redacted]; lang=en"},
		"gateway":               {"key sk_live_abc123DEF", "key [redacted]"},
		"JWT":                   {"got eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl now", "got [redacted] now"},
		"hash":                  {"was $pbkdf2-sha512$600000$abc$def.", "was [redacted]"},
		"nothing":               {"2026-03-01 12:00:00,000 1 INFO odoo_acme odoo.modules.loading: 15 modules loaded in 0.50s", "2026-03-01 12:00:00,000 1 INFO odoo_acme odoo.modules.loading: 15 modules loaded in 0.50s"},
		"login":                 {"Login successful for db:odoo_acme login:ada@example.com from 10.212.0.1", "Login successful for db:odoo_acme login:ada@example.com from 10.212.0.1"},
		"a word like it":        {"Password changed for ada", "Password changed for ada"},
		"empty":                 {"", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, r.line(tt.text))
			require.Equal(t, tt.want, r.line(r.line(tt.text)), "once is enough")
		})
	}
}

func FuzzRedactor(f *testing.F) {
	const secret = "kUnX3pTq9LmZ2vBs"
	r := newRedactor(secrets.Secret(secret))
	f.Add("a", "b")
	f.Add(`{"password": "`, `\"`)
	f.Add("http://x:", "@")
	f.Fuzz(func(t *testing.T, before, after string) {
		require.NotContains(t, r.line(before+secret+after), secret)
	})
}
