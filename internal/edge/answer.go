package edge

import (
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// clientGone is what the proxy answers to those who don't wait for an answer. It is in the log only.
const clientGone = 499

// watchedWriter adds the security headers to an answer and knows what became of it.
type watchedWriter struct {
	*caddyhttp.ResponseWriterWrapper
	https      bool
	embeddable bool
	body       *watchedBody // nil: none
	status     int          // 0: no answer has begun
	sent       int64
}

// WriteHeader begins the answer; a 1xx, but for the switch to a WebSocket, doesn't.
func (w *watchedWriter) WriteHeader(status int) {
	if status == clientGone && w.body.tooSlow() {
		return // the proxy can't tell one who went from one who is too slow; the latter is told
	}
	if w.status == 0 && (status >= http.StatusOK || status == http.StatusSwitchingProtocols) {
		w.status = status
		secure(w.Header(), w.https, w.embeddable)
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

// Write begins the answer if nothing has.
func (w *watchedWriter) Write(p []byte) (int, error) {
	w.begin()
	n, err := w.ResponseWriterWrapper.Write(p)
	w.sent += int64(n)
	return n, err
}

// ReadFrom begins the answer if nothing has; it lets the kernel copy where that is possible.
func (w *watchedWriter) ReadFrom(r io.Reader) (int64, error) {
	w.begin()
	n, err := w.ResponseWriterWrapper.ReadFrom(r)
	w.sent += n
	return n, err
}

func (w *watchedWriter) begin() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
}
