package whole_test

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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

// TestEdge has one real Odoo do what a proxy may get in the way of, over HTTPS: through another edge beside the platform's own.
func TestEdge(t *testing.T) {
	t.Parallel()
	c := signUp(t)
	name := c.provision("basic")
	login, password := c.credentials(name)
	front := startSecureEdge(t)
	o := front.visit(t, name)
	requireSecureLogin(t, o, name, login, password)
	t.Run("the checklist's headers", func(t *testing.T) { requireSecurityHeaders(t, o, front.visit(t, "nobody")) })
	t.Run("a message arrives on the bus", func(t *testing.T) { requireBusMessage(t, o) })
	t.Run("100 MB up and down", func(t *testing.T) { requireLargeAttachment(t, o) })
	t.Run("too large", func(t *testing.T) { requireTooLarge(t, o) })
	t.Run("the database manager is closed", func(t *testing.T) { requireNoDatabaseManager(t, o, name, login, password) })
}

func requireSecurityHeaders(t *testing.T, o, unknown *odoo) {
	t.Helper()
	rules := regexp.MustCompile(`add_header (\S+) "([^"]+)" always;`).FindAllStringSubmatch(nginxSecurity, -1)
	require.Len(t, rules, 5)
	status, page := o.do(o.request(http.MethodGet, "/web/login", nil))
	require.Equal(t, http.StatusOK, status)
	asset := regexp.MustCompile(`/web/assets/[^"]+\.css`).FindString(page)
	require.NotEmpty(t, asset)
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
		require.Equal(t, 2, resp.ProtoMajor, path)
		require.Equal(t, []string{"max-age=31536000"}, resp.Header.Values("Strict-Transport-Security"), path)
		if path == asset {
			require.Contains(t, resp.Header.Get("Cache-Control"), "max-age=31536000", "what may be kept long, may be kept long")
		}
	}
}

// requireBusMessage subscribes as Odoo's pages do, changes a setting, and waits to be told of it.
func requireBusMessage(t *testing.T, o *odoo) {
	t.Helper()
	requireWebSocket(t, o)
	conn, in := o.websocket(t)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(activeTimeout)))
	writeFrame(t, conn, `{"event_name":"subscribe","data":{"channels":[],"last":0}}`)
	call := func(model, method string, args ...any) any {
		result, err := o.rpc("/web/dataset/call_kw", map[string]any{"model": model, "method": method, "args": args, "kwargs": map[string]any{}})
		require.NoError(t, err)
		return result
	}
	session, err := o.rpc("/web/session/get_session_info", map[string]any{})
	require.NoError(t, err)
	settings := call("res.users.settings", "search", []any{[]any{"user_id", "=", session.(map[string]any)["uid"]}}).([]any)
	if len(settings) == 0 {
		settings = []any{call("res.users.settings", "create", map[string]any{"user_id": session.(map[string]any)["uid"]})}
	}
	// The subscription is asked for, and not answered: what is said before Odoo has seen to it comes with the next thing said.
	got := make(chan string, 100)
	go func() {
		defer close(got)
		for {
			text, err := readFrame(in)
			if err != nil {
				return
			}
			got <- text
		}
	}()
	again := time.NewTicker(500 * time.Millisecond)
	defer again.Stop()
	for open := true; ; open = !open {
		call("res.users.settings", "set_res_users_settings", settings, map[string]any{"is_discuss_sidebar_category_channel_open": open})
		select {
		case text, ok := <-got:
			require.True(t, ok, "the connection stays")
			if strings.Contains(text, "res.users.settings") {
				return
			}
		case <-again.C:
		}
	}
}

// websocket opens Odoo's bus with the session's cookie.
func (o *odoo) websocket(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	req := o.request(http.MethodGet, "/websocket?version="+o.busVersion(t), nil)
	cookies := o.http.Jar.Cookies(&url.URL{Scheme: req.URL.Scheme, Host: req.Host})
	require.NotEmpty(t, cookies, "the session's")
	for _, cookie := range cookies {
		req.AddCookie(cookie)
	}
	for header, value := range map[string]string{
		"Origin": req.URL.Scheme + "://" + req.Host, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	} {
		req.Header.Set(header, value)
	}
	conn := o.dial(t)
	require.NoError(t, req.Write(conn))
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, req)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	return conn, in
}

// busVersion is what Odoo's pages say that they speak; it hangs up on others.
func (o *odoo) busVersion(t *testing.T) string {
	t.Helper()
	_, page := o.do(o.request(http.MethodGet, "/odoo", nil))
	found := regexp.MustCompile(`"websocket_worker_version": ?"([^"]+)"`).FindStringSubmatch(page)
	require.Len(t, found, 2, "the page names the version")
	return found[1]
}

// writeFrame sends one text frame, masked as a browser's are.
func writeFrame(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	require.Less(t, len(text), 126)
	frame := []byte{0x81, 0x80 | byte(len(text)), 1, 2, 3, 4}
	for i := range len(text) {
		frame = append(frame, text[i]^byte(i%4+1))
	}
	_, err := conn.Write(frame)
	require.NoError(t, err)
}

func readFrame(in *bufio.Reader) (string, error) {
	var head [2]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return "", err
	}
	size := uint64(head[1] & 0x7f)
	switch size {
	case 126:
		var long [2]byte
		if _, err := io.ReadFull(in, long[:]); err != nil {
			return "", err
		}
		size = uint64(binary.BigEndian.Uint16(long[:]))
	case 127:
		var long [8]byte
		if _, err := io.ReadFull(in, long[:]); err != nil {
			return "", err
		}
		size = binary.BigEndian.Uint64(long[:])
	}
	text := make([]byte, size)
	_, err := io.ReadFull(in, text)
	return string(text), err
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
	o = &odoo{t: t, host: o.host, http: &patient, edge: o.edge}
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
	conn := o.dial(t)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(activeTimeout)))
	_, err := fmt.Fprintf(conn, "POST /web/binary/upload_attachment HTTP/1.1\r\nHost: %s\r\nAccept: text/html\r\nContent-Length: %d\r\n\r\n",
		o.request(http.MethodPost, "/", nil).Host, 129<<20)
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
