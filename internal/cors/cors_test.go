package cors_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/cors"
)

func TestNew_RefusesWhatIsNoOrigin(t *testing.T) {
	t.Parallel()
	for _, origins := range [][]string{{"*"}, {"https://ok.example.com", " * "}, {"example.com"}, {"https://example.com/path"}, {"ftp://example.com"}} {
		_, err := cors.New(origins)
		require.Error(t, err, "%v", origins)
	}
	_, err := cors.New([]string{" https://a.example.com ", "", "http://localhost:3000/"})
	require.NoError(t, err)
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	p, err := cors.New([]string{"https://App.example.com/"})
	require.NoError(t, err)
	for origin, want := range map[string]bool{
		"https://app.example.com": true, "HTTPS://APP.example.com": true, "": false, "null": false, "https://example.com": false,
		"http://app.example.com": false, "https://app.example.com.evil.test": false,
	} {
		r := httptest.NewRequest(http.MethodOptions, "/", nil)
		r.Header.Set("Origin", origin)
		h := http.Header{}
		require.Equal(t, want, p.Allow(h, r), origin)
		require.Equal(t, want, h.Get("Access-Control-Allow-Origin") == origin && origin != "", origin)
		require.Equal(t, "Origin", h.Get("Vary"))
		require.False(t, cors.Policy{}.Allow(http.Header{}, r), "the zero policy lets nobody in")

		require.False(t, cors.IsPreflight(r))
		r.Header.Set("Access-Control-Request-Method", http.MethodPost)
		require.True(t, cors.IsPreflight(r))
		w := httptest.NewRecorder()
		p.AnswerPreflight(w, r)
		require.Equal(t, http.StatusNoContent, w.Code)
		require.Equal(t, want, w.Header().Get("Access-Control-Allow-Headers") != "", origin)
		require.Equal(t, want, w.Header().Get("Access-Control-Allow-Origin") != "", origin)
	}
}
