package edge

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
)

const (
	accessQueue     = 8 << 10
	accessFlush     = time.Second
	longestLogged   = 1024
	longestAgent    = 256
	accessKeepsDays = 14
)

// access is the log of requests: one JSON object a line. Requests never wait for it: what can't be written in time is dropped and
// counted.
type access struct {
	file    *rotated // nil: none is kept
	lines   chan accessLine
	dropped atomic.Uint64
	log     *slog.Logger
}

// accessLine is one request. There are no queries, cookies or other headers that hold what opens doors, also not in a referrer.
type accessLine struct {
	Time     time.Time `json:"time"`
	Host     string    `json:"host"`
	Tenant   string    `json:"tenant,omitempty"`
	TenantID int64     `json:"tenant_id,omitempty"`
	Client   string    `json:"client"`
	Method   string    `json:"method"`
	Path     string    `json:"path"`
	Proto    string    `json:"proto"`
	TLS      bool      `json:"tls"`
	Status   int       `json:"status"` // 0: the client was gone before there was an answer
	Page     pageID    `json:"page,omitempty"`
	Received int64     `json:"bytes_received"`
	Sent     int64     `json:"bytes_sent"`
	Millis   float64   `json:"duration_ms"`
	Agent    string    `json:"user_agent,omitempty"`
}

func newAccess(path string, log *slog.Logger) *access {
	a := &access{log: log}
	if path != "" {
		a.file = &rotated{path: path, keep: accessKeepsDays * 24 * time.Hour, largest: rotateAt, now: time.Now}
		a.lines = make(chan accessLine, accessQueue)
	}
	return a
}

// downloads is where the API's links to backups lie: whoever has one needs nothing else.
const downloads = "/api/downloads/"

// loggedPath leaves out the secret that a path may hold.
func loggedPath(path string) string {
	if strings.HasPrefix(path, downloads) {
		return downloads + "[redacted]"
	}
	return path
}

// note logs one request that is over.
func (a *access) note(r *http.Request, v verdict, how answered, client netip.Addr, began time.Time) {
	if a.file == nil {
		return
	}
	line := accessLine{
		Time: began.UTC(), Host: cut(r.Host, longestAgent), Tenant: v.route.Name, TenantID: int64(v.route.TenantID), Method: cut(r.Method, 16),
		Path: cut(loggedPath(r.URL.Path), longestLogged), Proto: r.Proto, TLS: r.TLS != nil, Status: how.status, Page: v.page,
		Received: how.received, Sent: how.sent, Millis: float64(how.took.Microseconds()) / 1000, Agent: cut(r.UserAgent(), longestAgent),
	}
	if client.IsValid() {
		line.Client = client.String()
	}
	select {
	case a.lines <- line:
	default:
		a.dropped.Add(1)
	}
}

// write writes what comes until ctx ends, and then what is still there.
func (a *access) write(ctx context.Context) {
	if a.file == nil {
		return
	}
	defer func() { a.complain(ctx, a.file.close()) }()
	tick := time.NewTicker(accessFlush)
	defer tick.Stop()
	for {
		select {
		case line := <-a.lines:
			a.append(ctx, line)
		case <-tick.C:
			a.complain(ctx, a.file.flush())
		case <-ctx.Done():
			for {
				select {
				case line := <-a.lines:
					a.append(ctx, line)
				default:
					return
				}
			}
		}
	}
}

func (a *access) append(ctx context.Context, line accessLine) {
	text, err := json.Marshal(line)
	if err == nil {
		err = a.file.write(append(text, '\n'))
	}
	if err != nil {
		a.dropped.Add(1)
	}
	a.complain(ctx, err)
}

// complain logs what is wrong with the file, once until it is right again.
func (a *access) complain(ctx context.Context, err error) {
	if err != nil && !a.file.broken {
		a.log.WarnContext(ctx, "edge can't write its access log", "file", a.file.path, "error", err)
	}
	a.file.broken = err != nil
}

// cut bounds what a client can put into the log.
func cut(text string, most int) string {
	if len(text) > most {
		text = text[:most]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
