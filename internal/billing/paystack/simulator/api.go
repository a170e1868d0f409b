package simulator

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

const maxRequest = 1 << 20

// route is one operation of the Paystack API that is simulated.
type route struct {
	name, method, path string
	handle             func(s *Simulator, d *store, domain string, r *http.Request) answer
}

// routes is the whole API surface; a test compares it with the OpenAPI description.
func routes() []route {
	return []route{
		{"initialize", http.MethodPost, "/transaction/initialize", (*Simulator).initialize},
		{"verify", http.MethodGet, "/transaction/verify/{reference}", (*Simulator).verify},
		{"list", http.MethodGet, "/transaction", (*Simulator).list},
		{"fetch", http.MethodGet, "/transaction/{id}", (*Simulator).fetch},
		{"timeline", http.MethodGet, "/transaction/timeline/{id}", (*Simulator).timeline},
		{"totals", http.MethodGet, "/transaction/totals", (*Simulator).totals},
		{"charge", http.MethodPost, "/transaction/charge_authorization", (*Simulator).chargeAuthorization},
		{"refund", http.MethodPost, "/refund", (*Simulator).createRefund},
		{"refunds", http.MethodGet, "/refund", (*Simulator).listRefunds},
		{"refund_fetch", http.MethodGet, "/refund/{id}", (*Simulator).fetchRefund},
		{"refund_retry", http.MethodPost, "/refund/retry_with_customer_details/{id}", (*Simulator).retryRefund},
		{"disputes", http.MethodGet, "/dispute", (*Simulator).listDisputes},
		{"dispute_fetch", http.MethodGet, "/dispute/{id}", (*Simulator).fetchDispute},
		{"dispute_update", http.MethodPut, "/dispute/{id}", (*Simulator).updateDispute},
		{"dispute_transaction", http.MethodGet, "/dispute/transaction/{id}", (*Simulator).disputeOfTransaction},
		{"dispute_upload", http.MethodGet, "/dispute/{id}/upload_url", (*Simulator).disputeUpload},
		{"dispute_evidence", http.MethodPost, "/dispute/{id}/evidence", (*Simulator).addEvidence},
		{"dispute_resolve", http.MethodPut, "/dispute/{id}/resolve", (*Simulator).resolveDispute},
		{"customer_create", http.MethodPost, "/customer", (*Simulator).createCustomer},
		{"customers", http.MethodGet, "/customer", (*Simulator).listCustomers},
		{"customer_fetch", http.MethodGet, "/customer/{code}", (*Simulator).fetchCustomer},
		{"customer_update", http.MethodPut, "/customer/{code}", (*Simulator).updateCustomer},
		{"customer_risk", http.MethodPost, "/customer/set_risk_action", (*Simulator).setRiskAction},
		{"deactivate", http.MethodPost, "/customer/authorization/deactivate", (*Simulator).deactivate},
		{"plan_create", http.MethodPost, "/plan", (*Simulator).createPlan},
		{"plans", http.MethodGet, "/plan", (*Simulator).listPlans},
		{"plan_fetch", http.MethodGet, "/plan/{code}", (*Simulator).fetchPlan},
		{"plan_update", http.MethodPut, "/plan/{code}", (*Simulator).updatePlan},
		{"subscribe", http.MethodPost, "/subscription", (*Simulator).subscribe},
		{"subscriptions", http.MethodGet, "/subscription", (*Simulator).listSubscriptions},
		{"subscription_fetch", http.MethodGet, "/subscription/{code}", (*Simulator).fetchSubscription},
		{"subscription_enable", http.MethodPost, "/subscription/enable", (*Simulator).enableSubscription},
		{"subscription_disable", http.MethodPost, "/subscription/disable", (*Simulator).disableSubscription},
		{"subscription_link", http.MethodGet, "/subscription/{code}/manage/link", (*Simulator).subscriptionLink},
		{"subscription_email", http.MethodPost, "/subscription/{code}/manage/email", (*Simulator).subscriptionEmail},
		{"balance", http.MethodGet, "/balance", (*Simulator).balance},
	}
}

// Handler serves the API and the checkout page.
func (s *Simulator) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, rt := range routes() {
		if rt.name == "dispute_upload" { // the mux can't tell it from dispute_transaction
			mux.Handle(rt.method+" /dispute/{id}/{what}", only("upload_url", s.api(rt)))
			continue
		}
		mux.Handle(rt.method+" "+rt.path, s.api(rt))
	}
	mux.Handle("GET /transaction/verify/{$}", s.api(route{name: "verify", method: http.MethodGet, handle: (*Simulator).verifyNothing}))
	mux.HandleFunc("GET /checkout/{code}", s.showCheckout)
	mux.HandleFunc("POST /checkout/{code}", s.postCheckout)
	mux.HandleFunc("/", noRoute)
	return mux
}

func noRoute(w http.ResponseWriter, _ *http.Request) {
	failure(http.StatusNotFound, "Route not found", "not_found", "").write(w)
}

func only(what string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("what") != what {
			noRoute(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// answer is what a handler says; the envelope is added when it is written.
type answer struct {
	status  int
	ok      bool
	message string
	data    any
	meta    any
	kind    string // "type" of an error
	code    string
}

func success(message string, data any) answer {
	return answer{status: http.StatusOK, ok: true, message: message, data: data}
}

func failure(status int, message, code, nextStep string) answer {
	a := answer{status: status, message: message, code: code, kind: "validation_error"}
	if nextStep != "" {
		a.meta = map[string]string{"nextStep": nextStep}
	}
	return a
}

func (a answer) write(w http.ResponseWriter) {
	body := struct {
		Status  bool   `json:"status"`
		Message string `json:"message"`
		Data    any    `json:"data,omitempty"`
		Meta    any    `json:"meta,omitempty"`
		Type    string `json:"type,omitempty"`
		Code    string `json:"code,omitempty"`
	}{a.ok, a.message, a.data, a.meta, a.kind, a.code}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(a.status)
	_, _ = w.Write(encode(body)) // the caller has gone; nothing to do
}

// encode writes JSON as Node's JSON.stringify does: no HTML escapes, no line end.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // only our own types get here
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// api wraps a route in the check of the key and in the faults that concern it.
func (s *Simulator) api(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		domain, refused := s.authenticate(r)
		if refused != nil {
			refused.write(w)
			return
		}
		fault := s.takeAPIFault(rt.name)
		if fault != nil && fault.Before {
			s.breakAnswer(w, r, *fault, answer{})
			return
		}
		a := s.handle(rt, domain, r)
		s.note("api", map[string]any{"route": rt.name, "path": r.URL.Path, "status": a.status, "message": a.message})
		if fault != nil {
			s.breakAnswer(w, r, *fault, a)
			return
		}
		a.write(w)
	})
}

func (s *Simulator) handle(rt route, domain string, r *http.Request) answer {
	a := s.handleLocked(rt, domain, r)
	if rt.name == "initialize" && a.ok && s.take(PayOnInitialize, rt.name) != nil {
		s.payBeforeAnswer(r, a)
	}
	if rt.method != http.MethodGet && s.take(WebhookBeforeAnswer, rt.name) != nil {
		_ = s.Settle(r.Context()) // the caller gave up: nothing to wait for
	}
	return a
}

func (s *Simulator) handleLocked(rt route, domain string, r *http.Request) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rt.method != http.MethodGet {
		defer s.save()
	}
	return rt.handle(s, s.state.domain(domain), domain, r)
}

func (s *Simulator) authenticate(r *http.Request) (string, *answer) {
	header := r.Header.Get("Authorization")
	if header == "" {
		a := failure(http.StatusUnauthorized, "No Authorization Header was found", "", "Ensure that you provide the correct authorization key for the request")
		return "", &a
	}
	given, bearer := strings.CutPrefix(header, "Bearer ")
	for _, key := range s.opts.SecretKeys {
		if bearer && key.Equal(given) {
			return domainOf(given), nil
		}
	}
	a := failure(http.StatusUnauthorized, "Invalid key", "invalid_Key", "Ensure that you provide the correct authorization key for the request")
	return "", &a
}

// fields reads a JSON or form body; form values are text.
func fields(r *http.Request) (map[string]json.RawMessage, bool) {
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		if err := r.ParseForm(); err != nil {
			return nil, false
		}
		out := map[string]json.RawMessage{}
		for name := range r.PostForm {
			out[name] = encode(r.PostForm.Get(name))
		}
		return out, true
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, false
	}
	var out map[string]json.RawMessage
	return out, json.Unmarshal(text, &out) == nil
}
