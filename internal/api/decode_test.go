package api

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"controlplane/internal/errs"
	"controlplane/internal/secrets"
)

type sample struct {
	Name   string         `json:"name" validate:"required,max=5"`
	Secret secrets.Secret `json:"secret" validate:"max=5"`
	Text   *string        `json:"text" validate:"omitempty,max=5"`
}

func TestBindNamesEveryFieldThatIsWrong(t *testing.T) {
	t.Parallel()
	c := newChecker()
	for _, tc := range []struct{ body, detail string }{
		{`{"name":1,"text":[]}`, "name must be a string. text must be a string."},
		{`{}`, "name is required."},
		{`{"name":null}`, "name is required."},
		{`{"Name":"x"}`, "name is required."},
		{
			`{"name":"abcdef","text":"abcdef","secret":"abcdef"}`,
			"name may have at most 5 characters. secret may have at most 5 characters. text may have at most 5 characters.",
		},
		{`{"name":"a\u0000"}`, "name may not contain control characters."},
		{`{"name":"\ud800"}`, "name contains something that isn't a character."},
	} {
		fields, err := parseObject([]byte(tc.body))
		require.NoError(t, err)
		err = c.bind(fields, &sample{})
		var e *errs.Error
		require.ErrorAs(t, err, &e, tc.body)
		require.Equal(t, tc.detail, e.Message)
		require.Equal(t, errs.Invalid, e.Kind)
	}
}

func TestBindKeepsWhatIsSent(t *testing.T) {
	t.Parallel()
	fields, err := parseObject([]byte(` {"name":"ünïc","text":null,"other":{"deep":[1e400]},"secret":"\"\\/\u00e9"} `))
	require.NoError(t, err)
	var in sample
	require.NoError(t, newChecker().bind(fields, &in))
	require.Equal(t, sample{Name: "ünïc", Secret: `"\/é`}, in)
}

func TestDepth(t *testing.T) {
	t.Parallel()
	require.Equal(t, 0, depth([]byte(`"[[["`)))
	require.Equal(t, 1, depth([]byte(`{"a":"\"[","b":1}`)))
	require.Equal(t, 3, depth([]byte(`{"a":[{}],"b":[]}`)))
}

// FuzzParseObject holds the parser to encoding/json: what it accepts is an object with exactly these fields, and its refusals are
// always a readable error of the caller's.
func FuzzParseObject(f *testing.F) {
	for _, seed := range []string{`{}`, `{"name":"x"}`, `{"a":{"b":[1]}}`, `[]`, `null`, `{"a":1,"a":2}`, "{\"a\":\"\\u0000\"}", "\xff", strings.Repeat("[", 99), `{"a":1} x`} {
		f.Add([]byte(seed))
	}
	c := newChecker()
	f.Fuzz(func(t *testing.T, body []byte) {
		fields, err := parseObject(body)
		if err != nil {
			require.Contains(t, []errs.Kind{errs.Malformed, errs.Invalid}, errs.KindOf(err))
			return
		}
		var want map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(body, &want))
		require.Len(t, fields, len(want))
		var in sample
		if err := c.bind(fields, &in); err != nil {
			require.Equal(t, errs.Invalid, errs.KindOf(err))
			return
		}
		require.True(t, utf8.ValidString(in.Name))
		require.NotContains(t, in.Name, "\x00")
		require.LessOrEqual(t, utf8.RuneCountInString(in.Name), 5)
	})
}
