package edge

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"
)

var (
	//go:embed page.html
	pageSource string
	//go:embed page.js
	pageScript string
)

// pages are our own answers. All but the progress of one tenant is rendered once.
type pages struct {
	layout *template.Template
	brand  brand
	policy string
	html   map[pageID][]byte
	json   map[pageID][]byte
}

// pageCall is what one answer needs.
type pageCall struct {
	id       pageID
	json     bool
	retry    time.Duration // 0: as the page says
	progress *progress
}

func newPages(b brand) (*pages, error) {
	layout, err := template.New("page").Parse(pageSource)
	if err != nil {
		return nil, fmt.Errorf("parse the page: %w", err)
	}
	script := sha256.Sum256([]byte(pageScript))
	p := &pages{
		layout: layout, brand: b, html: map[pageID][]byte{}, json: map[pageID][]byte{},
		policy: "default-src 'none'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; script-src 'sha256-" +
			base64.StdEncoding.EncodeToString(script[:]) + "'; " + frameAncestors,
	}
	for id := range texts {
		if p.html[id], err = p.renderHTML(id, nil); err != nil {
			return nil, err
		}
		if p.json[id], err = renderJSON(id, nil); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *pages) renderHTML(id pageID, at *progress) ([]byte, error) {
	var out strings.Builder
	err := p.layout.Execute(&out, struct {
		page
		brand
		ID       pageID
		Progress *progress
		Script   template.JS
	}{texts[id], p.brand, id, at, template.JS(pageScript)}) //nolint:gosec // our own file
	if err != nil {
		return nil, fmt.Errorf("render the page %s: %w", id, err)
	}
	return []byte(out.String()), nil
}

// renderJSON returns a problem document (RFC 9457).
func renderJSON(id pageID, at *progress) ([]byte, error) {
	text := texts[id]
	problem := map[string]any{"type": "about:blank", "title": text.Title, "status": text.Status, "detail": text.Text, "code": string(id)}
	if at != nil {
		problem["progress"] = at
	}
	body, err := json.Marshal(problem)
	if err != nil {
		return nil, fmt.Errorf("render the problem %s: %w", id, err)
	}
	return body, nil
}

// body returns an answer's text; with progress if there is any to tell.
func (p *pages) body(call pageCall) []byte {
	render, ready := p.renderHTML, p.html[call.id]
	if call.json {
		render, ready = renderJSON, p.json[call.id]
	}
	if call.progress != nil {
		if body, err := render(call.id, call.progress); err == nil {
			return body
		}
	}
	return ready
}

// write answers with a page for people, or a problem document for programs.
func (p *pages) write(w http.ResponseWriter, r *http.Request, call pageCall) {
	text, body := texts[call.id], p.body(call)
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	if call.json {
		h.Set("Content-Type", "application/problem+json")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept")
	h.Set("Content-Security-Policy", p.policy)
	if call.id == pageTimeout {
		h.Set("Connection", "close") // the rest of the body may still trickle in
	}
	retry := text.Retry
	if call.retry > 0 {
		retry = int((call.retry + time.Second - 1) / time.Second)
	}
	if retry > 0 {
		h.Set("Retry-After", strconv.Itoa(retry))
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
