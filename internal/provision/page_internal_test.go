package provision

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// A login page may lead elsewhere first, under whatever name the database knows itself by; what isn't 200 in the end is none.
func TestPage(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.Handle("/web/login", http.RedirectHandler("https://shop.example.test/en/web/login?db=x", http.StatusSeeOther))
	mux.HandleFunc("/en/web/login", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "db=x" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	mux.Handle("/loop", http.RedirectHandler("/loop", http.StatusFound))
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p := newProber()
	require.NoError(t, p.page(t.Context(), server.URL, "/web/login"))
	require.ErrorContains(t, p.page(t.Context(), server.URL, "/broken"), "status 500")
	require.ErrorContains(t, p.page(t.Context(), server.URL, "/loop"), "leads nowhere")
}
