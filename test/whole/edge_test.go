package whole_test

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/test/harness"
)

const (
	attachmentBytes = 100 << 20
	transferTimeout = 5 * time.Minute
)

// nginxSecurity is what the production checklist has nginx add to every answer, word for word.
const nginxSecurity = `
add_header X-Frame-Options "SAMEORIGIN" always;
add_header X-Content-Type-Options "nosniff" always;
add_header X-XSS-Protection "1; mode=block" always;
add_header Referrer-Policy "no-referrer-when-downgrade" always;
add_header Content-Security-Policy "frame-ancestors 'self'" always;
`

// stricter is what Odoo says itself on some pages, and what we leave alone because it allows less.
var stricter = map[string][]string{
	"X-Frame-Options": {"DENY"}, "Referrer-Policy": {"same-origin", "strict-origin", "no-referrer", "strict-origin-when-cross-origin"},
}

// TestEdge has one real Odoo do what a proxy may get in the way of.
func TestEdge(t *testing.T) {
	t.Parallel()
	c := signUp(t)
	name := c.provision("basic")
	login, password := c.credentials(name)
	o := visit(t, name)
	_, err := o.login(name, login, password)
	require.NoError(t, err)
	t.Run("the checklist's headers", func(t *testing.T) { requireSecurityHeaders(t, o) })
	t.Run("the bus answers", func(t *testing.T) { requireWebSocket(t, o) })
	t.Run("100 MB up and down", func(t *testing.T) { requireLargeAttachment(t, o) })
	t.Run("too large", func(t *testing.T) { requireTooLarge(t, o) })
	t.Run("the database manager is closed", func(t *testing.T) { requireNoDatabaseManager(t, o, name, login, password) })
}

func requireSecurityHeaders(t *testing.T, o *odoo) {
	t.Helper()
	rules := regexp.MustCompile(`add_header (\S+) "([^"]+)" always;`).FindAllStringSubmatch(nginxSecurity, -1)
	require.Len(t, rules, 5)
	status, page := o.do(o.request(http.MethodGet, "/web/login", nil))
	require.Equal(t, http.StatusOK, status)
	asset := regexp.MustCompile(`/web/assets/[^"]+\.css`).FindString(page)
	require.NotEmpty(t, asset)
	unknown := visit(t, "nobody")
	for path, from := range map[string]*odoo{
		"/": o, "/web/login": o, "/odoo": o, asset: o, "/web/image/res.users/2/avatar_128": o, "/nothing-there": o, "/web/database/manager": o,
		"/web/health": o, "/?": unknown,
	} {
		resp, err := from.http.Do(from.request(http.MethodGet, path, nil))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		for _, rule := range rules {
			header, want := rule[1], rule[2]
			values := resp.Header.Values(header)
			if header == "Content-Security-Policy" {
				require.Contains(t, strings.Join(values, "; "), want, "%s %s", path, header)
				continue
			}
			require.Len(t, values, 1, "%s %s", path, header)
			require.Contains(t, append(stricter[header], want), values[0], "%s %s", path, header)
		}
		for _, header := range []string{"Server", "Via", "X-Powered-By"} {
			require.Empty(t, resp.Header.Values(header), "%s %s", path, header)
		}
		if path == asset {
			require.Contains(t, resp.Header.Get("Cache-Control"), "max-age=31536000", "what may be kept long, may be kept long")
		}
	}
}

// requireLargeAttachment sends a file as a browser does and fetches it again.
func requireLargeAttachment(t *testing.T, o *odoo) {
	t.Helper()
	_, page := o.do(o.request(http.MethodGet, "/odoo", nil))
	token := regexp.MustCompile(`csrf_token: ?"([^"]+)"`).FindStringSubmatch(page)
	require.Len(t, token, 2, "the page has a token for forms")
	read, write := io.Pipe()
	form := multipart.NewWriter(write)
	sent := sha256.New()
	go func() {
		err := func() error {
			for name, value := range map[string]string{"csrf_token": token[1], "model": "res.partner", "id": "0"} {
				if err := form.WriteField(name, value); err != nil {
					return err
				}
			}
			file, err := form.CreateFormFile("ufile", "large.bin")
			if err != nil {
				return err
			}
			if _, err := io.Copy(io.MultiWriter(file, sent), io.LimitReader(rand.Reader, attachmentBytes)); err != nil {
				return err
			}
			return form.Close()
		}()
		_ = write.CloseWithError(err)
	}()
	patient := *o.http
	patient.Timeout = transferTimeout
	o = &odoo{t: t, host: o.host, http: &patient}
	req := o.request(http.MethodPost, "/web/binary/upload_attachment", read)
	req.Header.Set("Content-Type", form.FormDataContentType())
	status, text := o.do(req)
	require.Equal(t, http.StatusOK, status, text)
	var made []struct{ ID, Size int }
	require.NoError(t, json.Unmarshal([]byte(text), &made), text)
	require.Len(t, made, 1, text)
	require.Equal(t, attachmentBytes, made[0].Size, text)

	resp, err := o.http.Do(o.request(http.MethodGet, fmt.Sprintf("/web/content/%d?download=true", made[0].ID), nil))
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	received := sha256.New()
	n, err := io.Copy(received, resp.Body)
	require.NoError(t, err)
	require.EqualValues(t, attachmentBytes, n)
	require.Equal(t, sent.Sum(nil), received.Sum(nil))
}

// requireTooLarge begins to send a body beyond the plan's limit, and reads why it isn't taken.
func requireTooLarge(t *testing.T, o *odoo) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(shared.Edge, "http://"), 10*time.Second)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	_, err = fmt.Fprintf(conn, "POST /web/binary/upload_attachment HTTP/1.1\r\nHost: %s:%s\r\nAccept: text/html\r\nContent-Length: %d\r\n\r\n",
		o.host, harness.Port(strings.TrimPrefix(shared.Edge, "http://")), 129<<20)
	require.NoError(t, err)
	go func() { // as browsers do, it sends until it is told
		piece := make([]byte, 64<<10)
		for {
			if _, err := conn.Write(piece); err != nil {
				return
			}
		}
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
	page, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Contains(t, string(page), "<h1>Too large</h1>")
}
