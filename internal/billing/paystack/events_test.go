package paystack_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing/paystack"
	"controlplane/internal/secrets"
)

func client(tb testing.TB, keys ...secrets.Secret) *paystack.Client {
	tb.Helper()
	if len(keys) == 0 {
		keys = []secrets.Secret{testKey}
	}
	c, err := paystack.New(paystack.Options{SecretKeys: keys})
	require.NoError(tb, err)
	return c
}

const (
	vectorBody = `{"event":"charge.success","data":{"id":302961,"reference":"inv-2026-000123","amount":500000,"currency":"NGN"}}`
	vectorSign = "e42878b6153051a90346e0c197a5c0f19924081a76182cbf58466e325646e852a397bb7ba047dea6bf6d710c737bc265f007f2047d9d4f6b5a9d8d64a48e6ce0"
)

func TestVerifySignature(t *testing.T) {
	t.Parallel()
	c := client(t)
	require.True(t, c.VerifySignature([]byte(vectorBody), vectorSign), "the vector of the fact sheet")
	require.True(t, client(t, "sk_test_new", testKey).VerifySignature([]byte(vectorBody), vectorSign), "the old key during a rotation")
	for name, signature := range map[string]string{
		"missing": "", "not hex": "zz", "short": vectorSign[:64], "long": vectorSign + "00", "changed": "f" + vectorSign[1:],
		"twice": vectorSign + vectorSign, "blank": " " + vectorSign,
	} {
		require.False(t, c.VerifySignature([]byte(vectorBody), signature), name)
	}
	require.False(t, c.VerifySignature([]byte(vectorBody+"\n"), vectorSign), "one byte more")
	require.False(t, client(t, "sk_test_other").VerifySignature([]byte(vectorBody), vectorSign))
}

func TestDecodeEvent(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, body, event, reference, mode, key string }{
		{"charge", vectorBody, "charge.success", "inv-2026-000123", "", `charge.success/"302961"`},
		{"id as text", `{"event":"charge.success","data":{"id":"302961","domain":"live","reference":"R"}}`, "charge.success", "R", "live", `charge.success/"302961"`},
		{"beyond 32 bits", `{"event":"charge.success","data":{"id":18446744073709551615,"reference":"R"}}`, "charge.success", "R", "", `charge.success/"18446744073709551615"`},
		{"dispute", `{"event":"charge.dispute.create","data":{"id":5,"transaction_reference":null,"transaction":{"reference":"R"}}}`, "charge.dispute.create", "R", "", `charge.dispute.create/"5"`},
		{
			"refund without id", `{"event":"refund.processed","data":{"status":"processed","transaction_reference":"R","refund_reference":"1","amount":"5000"}}`,
			"refund.processed", "R", "", `refund.processed/"R"/"1"/"processed"`,
		},
		{
			"refund pending", `{"event":"refund.pending","data":{"status":"pending","transaction_reference":"R","refund_reference":null}}`,
			"refund.pending", "R", "", `refund.pending/"R"/""/"pending"`,
		},
		{
			"invoice", `{"event":"invoice.create","data":{"invoice_code":"INV","status":"success","paid":1,"transaction":{"reference":"T"}}}`,
			"invoice.create", "T", "", `invoice.create/"INV"/"success"/"true"`,
		},
		{
			"subscription", `{"event":"subscription.create","data":{"subscription_code":"SUB","status":"active","next_payment_date":"2026"}}`,
			"subscription.create", "", "", `subscription.create/"SUB"/"active"/"2026"`,
		},
		{"transfer has no transaction", `{"event":"transfer.success","data":{"id":7,"reference":"acv"}}`, "transfer.success", "", "", `transfer.success/"7"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e, err := client(t).DecodeEvent([]byte(tc.body))
			require.NoError(t, err)
			require.Equal(t, tc.event, e.Name)
			require.Equal(t, tc.reference, e.Reference)
			require.Equal(t, tc.mode, e.Mode)
			require.Equal(t, tc.key, e.Key)
		})
	}
}

func TestDecodeEvent_ByItsBytes(t *testing.T) {
	t.Parallel()
	keys := map[string]bool{}
	for _, body := range []string{
		`{"event":"subscription.expiring_cards","data":[{"brand":"visa"}]}`,
		`{"event":"subscription.expiring_cards","data":[{"brand":"verve"}]}`,
		`{"event":"something.new","data":null}`,
		`{"event":"something.new","data":"text"}`,
		`{"event":"something.new"}`,
		`{"event":"charge.success","data":{"id":0,"reference":"A"}}`,
		`{"event":"charge.success","data":{"id":null,"reference":"A"}}`,
		`{"event":"charge.success","data":{"id":{},"reference":"A"}}`,
	} {
		e, err := client(t).DecodeEvent([]byte(body))
		require.NoError(t, err, body)
		again, err := client(t).DecodeEvent([]byte(body))
		require.NoError(t, err)
		require.Equal(t, e, again)
		require.False(t, keys[e.Key], body)
		keys[e.Key] = true
	}
}

func TestDecodeEvent_NotAnEvent(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		``, `null`, `[]`, `5`, `"x"`, `{`, `{}`, `{"event":""}`, `{"event":5.5e}`, `{"event":null}`, `{"event":["a"]}`,
		`{"event":"` + strings.Repeat("x", 101) + `"}`, strings.Repeat("[", 100_000),
	} {
		_, err := client(t).DecodeEvent([]byte(body))
		require.Error(t, err, body[:min(len(body), 40)])
	}
}

func FuzzDecodeEvent(f *testing.F) {
	for _, seed := range []string{
		vectorBody, `{"event":"refund.failed","data":{"id":"9","amount":"5"}}`, `{"event":"x","data":[1]}`, `{"event":"charge.success","data":{"id":1e999,"reference":"\u0000"}}`,
		`{"event":"charge.dispute.create","data":{"id":358950,"domain":"live","transaction":{"reference":"R","metadata":""},"transaction_reference":null}}`,
		`{"event":"refund.needs-attention","data":{"id":"5","status":"needs-attention","transaction_reference":"R","refund_reference":null,"amount":5000}}`,
		`{"event":"refund.processed","data":{"status":"processed","transaction_reference":"R","refund_reference":"1320133","amount":"5000"}}`,
		`{"event":"subscription.expiring_cards","data":[{"expiry_date":"12/2027","subscription":{"id":1}}]}`,
		`{"event":"subscription.not_renew","data":{"subscription_code":"SUB_x","status":"non-renewing","next_payment_date":null}}`,
		`{"event":"invoice.payment_failed","data":{"invoice_code":"INV_x","status":"pending","paid":0,"transaction":{}}}`,
		`{"event":"transfer.success","data":{"id":860703114,"reference":"acv"}}`, `{"event":"charge.success","data":{"id":18446744073709551616,"reference":7}}`,
		`{"event":"charge.success","data":{"id":[],"reference":{"a":1},"transaction":[]}}`, `{"event":" ","data":{"domain":5,"reference":"\ud800"}}`,
	} {
		f.Add([]byte(seed))
	}
	c := client(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := c.DecodeEvent(body)
		if err != nil {
			return
		}
		require.NotEmpty(t, e.Name)
		require.NotEmpty(t, e.Key)
		for _, stored := range []string{e.Name, e.Key, e.Reference, e.Mode} { // what PostgreSQL refuses would be delivered for ever
			require.True(t, utf8.ValidString(stored))
			require.NotContains(t, stored, "\x00")
			require.LessOrEqual(t, len(stored), 500)
		}
	})
}
