package simulator_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

func form(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

func TestCheckout_Cards(t *testing.T) {
	t.Parallel()
	const done = "http://shop.test/done?trxref=R1&reference=R1"
	for _, tc := range []struct {
		name, card string
		answers    []string
		status     string
		response   string
	}{
		{"at once", "4084084084084081", nil, "success", "Successful"},
		{"PIN", "507850785078507812", []string{"1111"}, "success", "Successful"},
		{"PIN and OTP", "5060666666666666666", []string{"1234", "123456"}, "success", "Successful"},
		{"PIN, phone and OTP", "507850785078507804", []string{"0000", "08031234567", "123456"}, "success", "Successful"},
		{"bank approves", "5192602720584796", []string{"approve"}, "success", "Successful"},
		{"bank refuses", "5192602720584796", []string{"refuse"}, "abandoned", "3DS authentication failed"},
		{"insufficient funds", "4084080000670037", nil, "abandoned", "Insufficient Funds"},
		{"declined", "4084080000005408", nil, "abandoned", "Declined"},
		{"wrong PIN, right afterwards", "507850785078507812", []string{"9999", "1111"}, "failed", "Incorrect PIN"},
		{"wrong OTP, right afterwards", "5060666666666666666", []string{"1234", "1", "123456"}, "failed", "Incorrect OTP"},
		{"no token", "507850785078507853", []string{"0000"}, "failed", "Token Not Generated. Customer Not Enrolled on Token Platform"},
		{"not a test card", "4242424242424242", nil, "abandoned", "Transaction declined. Please use the test card."},
		{"phone asked again", "507850785078507804", []string{"0000", "1"}, "ongoing", "The transaction was not completed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			address := b.open(t, "R1", nil)
			require.Contains(t, page(t, address), "Paystack simulator")
			target := submit(t, address, form("action", "card", "card", tc.card))
			for _, answer := range tc.answers {
				page(t, address)
				target = submit(t, address, form("action", "answer", "value", answer))
			}
			e := b.verify(t, "R1")
			require.Equal(t, tc.status, e.field(t, "status"))
			require.Equal(t, tc.response, e.field(t, "gateway_response"))
			require.Equal(t, tc.status == "success", target == done, target)
		})
	}
}

func TestCheckout_DeclinedThenPaid(t *testing.T) {
	t.Parallel()
	b := setup(t)
	address := b.open(t, "R1", nil)
	submit(t, address, form("action", "card", "card", "4084080000005408"))
	require.Contains(t, page(t, address), "Choose another one")
	submit(t, address, form("action", "card", "card", "4084 0840 8408 4081"))
	require.Equal(t, "success", b.verify(t, "R1").field(t, "status"))

	submit(t, address, form("action", "card", "card", "4084084084084081"))
	require.NoError(t, b.Settle(t.Context()))
	require.Len(t, b.receiver.got(), 1, "a second click pays nothing")
	require.Contains(t, page(t, address), "http://shop.test/done?trxref=R1&amp;reference=R1")
}

func TestCheckout_Cancel(t *testing.T) {
	t.Parallel()
	b := setup(t)
	plain := b.open(t, "R1", nil)
	require.Contains(t, submit(t, plain, form("action", "cancel")), "/checkout/")
	away := b.open(t, "R2", map[string]any{"metadata": `{"cancel_action":"http://shop.test/cancelled"}`})
	require.Equal(t, "http://shop.test/cancelled", submit(t, away, form("action", "cancel")))
	require.Equal(t, "abandoned", b.verify(t, "R2").field(t, "status"))
}

func TestCheckout_UnknownCode(t *testing.T) {
	t.Parallel()
	b := setup(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL+"/checkout/nothing", nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
}

func TestCheckout_CallbackWithAQuery(t *testing.T) {
	t.Parallel()
	b := setup(t)
	address := b.open(t, "R1", map[string]any{"callback_url": "http://shop.test/done?a=1"})
	require.Equal(t, "http://shop.test/done?a=1&trxref=R1&reference=R1", submit(t, address, form("action", "card", "card", "4084084084084081")))
}
