package edge

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"controlplane/internal/tenants"
)

//go:embed page.html
var pageSource string

// pageID names one of our own answers.
type pageID string

const (
	pageStarting     pageID = "starting"
	pageUnknown      pageID = "unknown"
	pageMisdirected  pageID = "misdirected"
	pageNotFound     pageID = "not_found"
	pageBadRequest   pageID = "bad_request"
	pageUnsupported  pageID = "unsupported_encoding"
	pageTooLarge     pageID = "too_large"
	pageNotAnswering pageID = "not_answering"
	pagePending      pageID = "pending"
	pageProvisioning pageID = "provisioning"
	pageSuspended    pageID = "suspended"
	pageSleeping     pageID = "sleeping"
	pageMaintenance  pageID = "maintenance"
	pageFailed       pageID = "failed"
	pageScheduled    pageID = "scheduled_for_deletion"
	pageGone         pageID = "gone"
)

// page is one answer. A browser asks again after Refresh seconds by itself; Retry only tells API clients.
type page struct {
	Status  int
	Title   string
	Text    string
	Retry   int
	Refresh int
}

var texts = map[pageID]page{ //nolint:gochecknoglobals // a constant table
	pageStarting: {503, "One moment", "This server has just been started and isn't ready yet.", 2, 2},
	pageUnknown:  {404, "Nothing here", "There is no Odoo at this address. Check the spelling of its name.", 0, 0},
	pageMisdirected: {
		421, "Not our address",
		"This server isn't responsible for the address that you asked for.", 0, 0,
	},
	pageNotFound:    {404, "Not found", "This page doesn't exist.", 0, 0},
	pageBadRequest:  {400, "Bad request", "This request can't be understood.", 0, 0},
	pageUnsupported: {415, "Unsupported encoding", "JSON-RPC calls must be plain UTF-8, without content encoding.", 0, 0},
	pageTooLarge:    {413, "Too large", "What you sent is larger than this server takes.", 0, 0},
	pageNotAnswering: {
		503, "Odoo isn't answering",
		"This Odoo is there but doesn't answer right now. It may be restarting; please try again in a moment.", 5, 5,
	},
	pagePending: {402, "Waiting for payment", "This Odoo has been reserved and starts as soon as it is paid for.", 0, 0},
	pageProvisioning: {
		503, "Your Odoo is being prepared",
		"This takes a few seconds. The page comes back by itself when it is ready.", 2, 2,
	},
	pageSuspended:   {503, "Suspended", "This Odoo has been suspended. Nothing is lost; its owner can find out more in their account.", 3600, 0},
	pageSleeping:    {503, "Waking up", "This Odoo was asleep and is being woken. The page comes back by itself.", 5, 5},
	pageMaintenance: {503, "Maintenance", "This Odoo is being maintained and will be back soon.", 60, 30},
	pageFailed: {
		503, "Something went wrong",
		"This Odoo couldn't be started. Our staff know and are looking after it; its payment isn't lost.", 600, 0,
	},
	pageScheduled: {503, "Going to be deleted", "This Odoo has been switched off and is going to be deleted. Its owner can still cancel that.", 3600, 0},
	pageGone:      {410, "Deleted", "This Odoo has been deleted.", 0, 0},
}

// pageOf returns what a tenant's address shows in a state in which it can't be reached.
func pageOf(state tenants.State) pageID {
	switch state {
	case tenants.Pending:
		return pagePending
	case tenants.Provisioning:
		return pageProvisioning
	case tenants.Suspended:
		return pageSuspended
	case tenants.Sleeping:
		return pageSleeping
	case tenants.Maintenance:
		return pageMaintenance
	case tenants.Failed:
		return pageFailed
	case tenants.Scheduled:
		return pageScheduled
	case tenants.Deleting, tenants.Deleted:
		return pageGone
	case tenants.Active: // without an address
	}
	return pageNotAnswering
}

func pageOfBodyError(err error) pageID {
	switch {
	case errors.Is(err, errDatabaseService):
		return pageNotFound
	case errors.Is(err, errOddEncoding):
		return pageUnsupported
	}
	return pageBadRequest
}

// pageOfProxyError returns what to say when the proxy gave up. Errors of reading the body are the client's.
func pageOfProxyError(err error) pageID {
	var tooLarge *http.MaxBytesError
	var handler caddyhttp.HandlerError
	switch {
	case errors.As(err, &tooLarge):
		return pageTooLarge
	case errors.Is(err, errDatabaseService), errors.Is(err, errOddEncoding):
		return pageOfBodyError(err)
	case errors.As(err, &handler) && handler.StatusCode < http.StatusInternalServerError:
		return pageBadRequest
	}
	return pageNotAnswering
}

// pages are our own answers, rendered once.
type pages struct {
	html map[pageID][]byte
	json map[pageID][]byte
}

func newPages(product string) (*pages, error) {
	layout, err := template.New("page").Parse(pageSource)
	if err != nil {
		return nil, fmt.Errorf("parse the page: %w", err)
	}
	p := &pages{html: map[pageID][]byte{}, json: map[pageID][]byte{}}
	for id, text := range texts {
		var out strings.Builder
		if err := layout.Execute(&out, struct {
			page
			Product string
		}{text, product}); err != nil {
			return nil, fmt.Errorf("render the page %s: %w", id, err)
		}
		p.html[id] = []byte(out.String())
		problem := map[string]any{"type": "about:blank", "title": text.Title, "status": text.Status, "detail": text.Text, "code": string(id)}
		if p.json[id], err = json.Marshal(problem); err != nil {
			return nil, fmt.Errorf("render the problem %s: %w", id, err)
		}
	}
	return p, nil
}

// write answers with a page for people, or a problem document for programs.
func (p *pages) write(w http.ResponseWriter, r *http.Request, id pageID) {
	text, body := texts[id], p.html[id]
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	if wantsJSON(r) {
		body = p.json[id]
		h.Set("Content-Type", "application/problem+json")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'")
	if text.Retry > 0 {
		h.Set("Retry-After", strconv.Itoa(text.Retry))
	}
	w.WriteHeader(text.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client may be gone; there is nobody to tell
	}
}

// wantsJSON reports whether a program is asking: it says so, sends JSON itself, or prefers anything to HTML.
func wantsJSON(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	if strings.Contains(accept, "text/html") {
		return false
	}
	return strings.Contains(accept, "json") || strings.Contains(r.Header.Get("Content-Type"), "json")
}
