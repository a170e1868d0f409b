package paystack

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLooseInt(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]looseInt{
		`5`: {5, true}, `"5"`: {5, true}, `5.0`: {5, true}, `5e3`: {5000, true}, `" 7 "`: {7, true}, `-1`: {-1, true},
		`9223372036854775807`: {9223372036854775807, true}, `0`: {0, true},
		`9223372036854775808`: {}, `5.5`: {}, `""`: {}, `null`: {}, `true`: {}, `[]`: {}, `{}`: {}, `"x"`: {}, `1e999999999`: {}, `1e-999999999`: {}, `"0x10"`: {},
	} {
		var n looseInt
		require.NoError(t, json.Unmarshal([]byte(text), &n), text)
		require.Equal(t, want, n, text)
	}
}

func TestLooseTime(t *testing.T) {
	t.Parallel()
	want := time.Date(2026, 11, 21, 9, 15, 2, 0, time.UTC)
	for _, text := range []string{`"2026-11-21T09:15:02.000Z"`, `"2026-11-21T09:15:02Z"`, `"2026-11-21T10:15:02+01:00"`, `"2026-11-21T09:15:02"`, `"2026-11-21 09:15:02"`} {
		var at looseTime
		require.NoError(t, json.Unmarshal([]byte(text), &at), text)
		require.NotNil(t, at.at, text)
		require.Equal(t, want, *at.at, text)
	}
	for _, text := range []string{`""`, `null`, `0`, `[]`, `"0000-00-00"`, `"9999-12-31T00:00:00Z"`, `"yesterday"`} {
		var at looseTime
		require.NoError(t, json.Unmarshal([]byte(text), &at), text)
		require.Nil(t, at.at, text)
	}
}

func TestTransaction_Tolerates(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{"id":"4099260516","amount":"500000","status":"success","metadata":"","plan":0,"authorization":[],"customer":null,"paidAt":"2026-11-21T09:15:02.000Z","log":""}`,
		`{"id":4099260516,"amount":500000,"status":"success","metadata":{"a":1},"plan":"PLN_x","authorization":{},"customer":{},"paid_at":"2026-11-21T09:15:02Z","fees":null}`,
	} {
		var got transaction
		require.NoError(t, json.Unmarshal([]byte(text), &got))
		b := got.billing()
		require.Equal(t, int64(4099260516), b.ID)
		require.Equal(t, int64(500000), b.AmountKobo)
		require.NotNil(t, b.PaidAt)
		require.Nil(t, b.FeesKobo)
	}
}

func FuzzTransaction(f *testing.F) {
	f.Add([]byte(`{"id":"4099260516","amount":"500000","status":"success","paidAt":"2026-11-21T09:15:02.000Z"}`))
	f.Add([]byte(`{"id":[],"amount":{},"status":5,"fees":"","paid_at":0}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var got transaction
		if json.Unmarshal(text, &got) == nil && json.Valid(text) {
			require.NotContains(t, string(got.billing().Status), "\x00")
		}
	})
}
