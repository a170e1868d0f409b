package simulator

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/secrets"
)

// What a shop may call of Paystack is here, and none of the switches is where a shop could reach it.
func TestRoutes_AreAllThatAShopNeeds(t *testing.T) {
	t.Parallel()
	have := map[string]bool{}
	for _, rt := range routes() {
		have[rt.method+" "+rt.path] = true
	}
	for wanted := range strings.SplitSeq(`POST /transaction/initialize
GET /transaction/verify/{reference}
GET /transaction/{id}
GET /transaction
GET /transaction/timeline/{id}
POST /transaction/charge_authorization
POST /customer
GET /customer/{code}
GET /customer
PUT /customer/{code}
POST /customer/authorization/deactivate
POST /plan
GET /plan/{code}
GET /plan
PUT /plan/{code}
POST /subscription
GET /subscription/{code}
GET /subscription
POST /subscription/enable
POST /subscription/disable
GET /subscription/{code}/manage/link
POST /refund
GET /refund/{id}
GET /refund
POST /refund/retry_with_customer_details/{id}
GET /dispute
GET /dispute/{id}
PUT /dispute/{id}/resolve
POST /dispute/{id}/evidence
GET /balance`, "\n") {
		require.True(t, have[wanted], wanted)
	}
	s, err := New(Options{SecretKeys: []secrets.Secret{"sk_test_simulator_key"}})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	for _, path := range []string{"/faults", "/journal", "/clock", "/deliveries", "/transactions", "/refunds", "/disputes"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer sk_test_simulator_key")
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		require.Equal(t, http.StatusNotFound, w.Code, "%s is for the admin port alone", path)
		w = httptest.NewRecorder()
		s.AdminHandler().ServeHTTP(w, r)
		require.Equal(t, http.StatusOK, w.Code, path)
	}
	require.Greater(t, s.nextID(), int64(1)<<32, "ids went beyond 32 bits")
}
