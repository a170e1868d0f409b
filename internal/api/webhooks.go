package api

import "net/http"

// webhook hands over the raw bytes, since the signature is over them. Any answer but 200 makes the gateway deliver again, so 200
// means stored and nothing else.
func (s *server) webhook(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r, s.opts.MaxWebhookBody)
	if err != nil {
		return err
	}
	if err := s.deps.Billing.ReceiveWebhook(r.Context(), body, r.Header.Get("X-Paystack-Signature")); err != nil {
		return err
	}
	return reply(w, http.StatusOK, webhookAnswer{Status: "success"})
}
