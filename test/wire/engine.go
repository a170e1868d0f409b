package wire

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// HTTP is a proxy in front of a server that speaks HTTP: a container engine, or a store of backups.
type HTTP struct {
	gate

	*listener
	server string
	client *http.Transport
	accept chan net.Conn
}

// NewEngine passes what comes to the socket path on to a container engine's socket. Up opens it.
func NewEngine(path, upstream string) *HTTP { return newHTTP("engine", "unix", path, upstream) }

// NewStore passes what comes to a TCP address on to an S3 server's. Up opens it.
func NewStore(address, upstream string) *HTTP { return newHTTP("store", "tcp", address, upstream) }

func newHTTP(name, network, address, upstream string) *HTTP {
	e := &HTTP{server: name, accept: make(chan net.Conn)}
	e.client = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, upstream)
		},
		DisableCompression: true, MaxIdleConnsPerHost: 64,
	}
	server := &http.Server{Handler: e, ReadHeaderTimeout: time.Minute}
	e.listener = newListener(network, address, func(conn net.Conn) {
		done := make(chan struct{})
		_ = server.Serve(&single{conn: conn, done: done})
		<-done
	})
	return e
}

// single is a listener of one connection; the server reports by closing it.
type single struct {
	conn net.Conn
	done chan struct{}
	used bool
}

type watched struct {
	net.Conn
	done chan struct{}
}

func (w *watched) Close() error {
	err := w.Conn.Close()
	select {
	case <-w.done:
	default:
		close(w.done)
	}
	return err
}

func (s *single) Accept() (net.Conn, error) {
	if s.used {
		return nil, io.EOF
	}
	s.used = true
	return &watched{Conn: s.conn, done: s.done}, nil
}

func (s *single) Close() error   { return nil }
func (s *single) Addr() net.Addr { return s.conn.LocalAddr() }

var (
	apiVersion = regexp.MustCompile(`^/v\d+\.\d+`)                                                                             //nolint:gochecknoglobals // a constant
	endless    = regexp.MustCompile(`/(wait|events|logs|attach|stats|archive|build|images/create|images/load|images/.*/get)$`) //nolint:gochecknoglobals // a constant
)

// ServeHTTP passes one request on. Answers that come bit by bit are passed on as they come, the others when they are complete.
func (e *HTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call := Call{Server: e.server, Text: r.Method + " " + apiVersion.ReplaceAllString(r.URL.RequestURI(), "")}
	if r.Method == http.MethodPost && r.Header.Get("Content-Type") == "application/json" {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		call.Raw = short(body)
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	if e.at(call, Before) {
		panic(http.ErrAbortHandler)
	}
	resp, err := e.forward(r, call)
	if err != nil {
		panic(http.ErrAbortHandler) // as if the engine had gone
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		tunnel(w, resp)
		e.at(call, After)
		return
	}
	var body io.Reader = resp.Body
	if !endless.MatchString(r.URL.Path) {
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		call.Raw += "\n" + short(text)
		if e.at(call, After) {
			panic(http.ErrAbortHandler)
		}
		body = bytes.NewReader(text)
	}
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	stream(w, body)
	if endless.MatchString(r.URL.Path) && e.at(call, After) {
		panic(http.ErrAbortHandler)
	}
}

func (e *HTTP) forward(r *http.Request, call Call) (*http.Response, error) {
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				e.at(call, During)
			}
		},
	})
	u := url.URL{Scheme: "http", Host: e.server, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	out, err := http.NewRequestWithContext(ctx, r.Method, u.String(), r.Body)
	if err != nil {
		return nil, err
	}
	out.Host = r.Host // a store's requests are signed with it
	out.Header, out.ContentLength, out.TransferEncoding = r.Header.Clone(), r.ContentLength, r.TransferEncoding
	if r.ContentLength == 0 {
		out.Body = http.NoBody
	}
	return e.client.RoundTrip(out)
}

// tunnel passes bytes on in both directions, and each one's end, until the engine's has come.
func tunnel(w http.ResponseWriter, resp *http.Response) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer func() { _ = conn.Close() }()
	body := resp.Body
	resp.Body = http.NoBody
	up, ok := body.(io.Writer)
	if !ok || resp.Write(conn) != nil {
		return
	}
	go func() {
		if _, err := io.Copy(up, buffered); err != nil {
			_ = body.Close() // a program must not take what it got for all
			return
		}
		if half, ok := body.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}()
	_, _ = io.Copy(conn, body)
}

func stream(w http.ResponseWriter, body io.Reader) {
	flusher, _ := w.(http.Flusher)
	flusher.Flush()
	buffer := make([]byte, 32<<10)
	for {
		n, err := body.Read(buffer)
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return
			}
			flusher.Flush()
		}
		if err != nil {
			return
		}
	}
}

// Subject returns the last part of an engine path that names something: "odoo_acme" of /containers/odoo_acme/start.
func Subject(text string) string {
	_, path, _ := strings.Cut(text, " ")
	path, query, _ := strings.Cut(path, "?")
	if values, err := url.ParseQuery(query); err == nil && values.Get("name") != "" {
		return values.Get("name")
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if len(parts) > 1 {
		return parts[1]
	}
	return ""
}
