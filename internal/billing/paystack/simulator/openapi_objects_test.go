package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"

	"controlplane/internal/secrets"
)

// ask calls the API without a server, and returns the first object of data.
func ask(t *testing.T, s *Simulator, method, path, body string) map[string]any {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer sk_test_simulator_key")
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, req)
	require.Equal(t, http.StatusOK, w.Code, "%s %s: %s", method, path, w.Body)
	var answer struct {
		Data json.RawMessage `json:"data"`
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
	var object map[string]any
	if json.Unmarshal(answer.Data, &object) == nil {
		return object
	}
	var list []map[string]any
	require.NoError(t, json.Unmarshal(answer.Data, &list))
	require.NotEmpty(t, list)
	return list[0]
}

// described are the names of the fields of an answer's data.
func described(t *testing.T, doc *openapi3.T, schema string) openapi3.Schemas {
	t.Helper()
	data := doc.Components.Schemas[schema].Value.Properties["data"].Value
	if data.Type.Is("array") {
		data = data.Items.Value
	}
	return data.Properties
}

// Each field of ours is in the description, but for those that its own samples have and it doesn't.
func TestObjects_FieldNamesAreInTheDescription(t *testing.T) {
	t.Parallel()
	doc := description(t)
	s, err := New(Options{SecretKeys: []secrets.Secret{"sk_test_simulator_key"}})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	ask(t, s, http.MethodPost, "/transaction/initialize", `{"email":"ada@example.com","amount":500000,"reference":"R1"}`)
	require.NoError(t, s.Pay("R1", ""))
	dispute, err := s.OpenDispute("R1", "", 0)
	require.NoError(t, err)
	code := ask(t, s, http.MethodGet, "/customer/ada@example.com", "")["customer_code"]
	authorization, ok := ask(t, s, http.MethodGet, "/transaction/verify/R1", "")["authorization"].(map[string]any)
	require.True(t, ok)
	plan := ask(t, s, http.MethodPost, "/plan", `{"name":"Basic","amount":500000,"interval":"monthly"}`)["plan_code"]
	subscription := ask(t, s, http.MethodPost, "/subscription", fmt.Sprintf(`{"customer":%q,"plan":%q}`, code, plan))
	refund := ask(t, s, http.MethodPost, "/refund", `{"transaction":"R1","amount":1000}`)["id"]
	evidence := `{"customer_email":"a@example.com","customer_name":"A","customer_phone":"1","service_details":"x"}`
	for _, tc := range []struct{ schema, method, path, body, extra string }{
		{"ChargeAuthorizationResponse", http.MethodPost, "/transaction/charge_authorization", fmt.Sprintf(
			`{"email":"ada@example.com","amount":5000,"authorization_code":%q}`, authorization["authorization_code"]), "all of VerifyResponse"},
		{"RefundCreateResponse", http.MethodPost, "/refund", `{"transaction":"R1","amount":1000}`, "dispute settlement refund_reference"},
		{"RefundListResponse", http.MethodGet, "/refund", "", "channel expected_at refund_reference created_at updated_at"},
		{"RefundFetchResponse", http.MethodGet, fmt.Sprintf("/refund/%.0f", refund), "", "channel expected_at refund_reference updatedAt"},
		{"DisputeListResponse", http.MethodGet, "/dispute", "", ""},
		{"DisputeFetchResponse", http.MethodGet, fmt.Sprintf("/dispute/%d", dispute), "", ""},
		{"DisputeAddEvidenceResponse", http.MethodPost, fmt.Sprintf("/dispute/%d/evidence", dispute), evidence, ""},
		{"DisputeUploadURLResponse", http.MethodGet, fmt.Sprintf("/dispute/%d/upload_url?upload_filename=f.pdf", dispute), "", ""},
		{"DisputeUpdateResponse", http.MethodPut, fmt.Sprintf("/dispute/%d", dispute), `{"refund_amount":1000}`, ""},
		{"PlanCreateResponse", http.MethodPost, "/plan", `{"name":"Pro","amount":900000,"interval":"annually"}`, "description"},
		{"PlanListResponse", http.MethodGet, "/plan", "", ""},
		{"PlanFetchResponse", http.MethodGet, fmt.Sprintf("/plan/%s", plan), "", ""},
		{"SubscriptionListResponse", http.MethodGet, "/subscription", "", "updatedAt"},
		{"SubscriptionFetchResponse", http.MethodGet, fmt.Sprintf("/subscription/%s", subscription["subscription_code"]), "", "quantity start updatedAt"},
		{"CustomerListResponse", http.MethodGet, "/customer", "", "identified identifications"},
		{"CustomerFetchResponse", http.MethodGet, fmt.Sprintf("/customer/%s", code), "", ""},
		{"CustomerUpdateResponse", http.MethodPut, fmt.Sprintf("/customer/%s", code), `{"phone":"1"}`, ""},
	} {
		known := described(t, doc, tc.schema)
		if tc.extra == "all of VerifyResponse" {
			known = described(t, doc, "VerifyResponse")
			tc.extra = "paidAt createdAt"
		}
		for name := range ask(t, s, tc.method, tc.path, tc.body) {
			if !strings.Contains(" "+tc.extra+" ", " "+name+" ") {
				require.Contains(t, known, name, tc.schema)
			}
		}
	}
}

// What we read from a body is described, too.
func TestRequests_FieldNamesAreInTheDescription(t *testing.T) {
	t.Parallel()
	doc := description(t)
	for path, names := range map[string]string{
		"POST /transaction/charge_authorization":        "email amount currency reference authorization_code metadata",
		"POST /refund":                                  "transaction amount currency customer_note merchant_note",
		"POST /refund/retry_with_customer_details/{id}": "refund_account_details",
		"PUT /dispute/{id}":                             "refund_amount uploaded_filename",
		"PUT /dispute/{id}/resolve":                     "resolution message refund_amount uploaded_filename",
		"POST /dispute/{id}/evidence":                   "customer_email customer_name customer_phone service_details delivery_address delivery_date",
		"POST /customer":                                "email first_name last_name phone metadata",
		"PUT /customer/{code}":                          "first_name last_name phone metadata",
		"POST /customer/set_risk_action":                "customer risk_action",
		"POST /customer/authorization/deactivate":       "authorization_code",
		"POST /plan":                                    "name amount interval description send_invoices send_sms currency invoice_limit",
		"PUT /plan/{code}":                              "name amount interval description send_invoices send_sms currency invoice_limit",
		"POST /subscription":                            "customer plan authorization start_date",
		"POST /subscription/enable":                     "code token",
		"POST /subscription/disable":                    "code token",
	} {
		method, path, _ := strings.Cut(path, " ")
		body := doc.Paths.Find(path).GetOperation(method).RequestBody.Value.Content.Get("application/json").Schema.Value
		known := openapi3.Schemas{}
		for _, schema := range append(body.AllOf, &openapi3.SchemaRef{Value: body}) {
			for name, property := range schema.Value.Properties {
				known[name] = property
			}
		}
		for name := range strings.FieldsSeq(names) {
			require.Contains(t, known, name, path)
		}
	}
}
