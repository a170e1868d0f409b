package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"controlplane/internal/secrets"
)

// Password is every made-up person's.
const Password = "Correct-horse-7!"

// Answer is what the API said.
type Answer struct {
	Status int
	Header http.Header
	Text   string
}

// JSON decodes an answer that is an object.
func (a Answer) JSON() map[string]any {
	var got map[string]any
	_ = json.Unmarshal([]byte(a.Text), &got)
	return got
}

// OK returns an error unless the status is a good one.
func (a Answer) OK() error {
	if a.Status >= 200 && a.Status < 300 {
		return nil
	}
	return fmt.Errorf("status %d: %s", a.Status, a.Text)
}

// Person is a customer or an administrator with a token.
type Person struct {
	Name, Email string
	base        string
	token       string
	http        *http.Client
}

// At is the same person at another replica.
func (p *Person) At(base string) *Person {
	other := *p
	other.base = base
	return &other
}

// SignUp makes a customer.
func (r *Rig) SignUp(ctx context.Context) (*Person, error) {
	name := "user" + secrets.RandomHex(6)
	p := &Person{Name: name, Email: name + "@example.com", base: r.API, http: &http.Client{Timeout: 30 * time.Second}}
	a, err := p.Do(ctx, http.MethodPost, "/api/auth/register", map[string]any{"username": name, "email": p.Email, "password": Password, "full_name": "Ada"})
	if err := errors.Join(err, a.OK()); err != nil {
		return nil, fmt.Errorf("register: %w", err)
	}
	return p, p.Login(ctx)
}

// Admin makes an administrator by the operator's command.
func (r *Rig) Admin(ctx context.Context) (*Person, error) {
	name := "admin" + secrets.RandomHex(6)
	p := &Person{Name: name, Email: name + "@example.com", base: r.API, http: &http.Client{Timeout: 30 * time.Second}}
	cmd := r.Command(ctx, "admin", "create", name, p.Email, "--password-stdin")
	cmd.Stdin = strings.NewReader(Password + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make an administrator: %w\n%s", err, out)
	}
	return p, p.Login(ctx)
}

// Login gets a fresh token; the one before lasts half an hour.
func (p *Person) Login(ctx context.Context) error {
	a, err := p.Do(ctx, http.MethodPost, "/api/auth/login", map[string]any{"username": p.Name, "password": Password})
	if err := errors.Join(err, a.OK()); err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	p.token, _ = a.JSON()["access_token"].(string)
	return nil
}

// Do sends JSON from an address of its own: the limits are per address.
func (p *Person) Do(ctx context.Context, method, path string, body any) (Answer, error) {
	if body == nil {
		return p.Send(ctx, method, path, "", nil)
	}
	text, err := json.Marshal(body)
	if err != nil {
		return Answer{}, err
	}
	return p.Send(ctx, method, path, "application/json", bytes.NewReader(text))
}

// Send is Do for a body of any type.
func (p *Person) Send(ctx context.Context, method, path, contentType string, body io.Reader) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.base+path, body)
	if err != nil {
		return Answer{}, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if p.token != "" {
		req.Header.Set("Authorization", "Bearer "+p.token)
	}
	req.Header.Set("X-Forwarded-For", randomAddress())
	resp, err := p.http.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return Answer{Status: resp.StatusCode, Header: resp.Header, Text: string(text)}, err
}

// Must is Do for a call that has to succeed.
func (p *Person) Must(ctx context.Context, method, path string, body any) (map[string]any, error) {
	a, err := p.Do(ctx, method, path, body)
	if err := errors.Join(err, a.OK()); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return a.JSON(), nil
}

// Create names a client and leaves it unpaid.
func (p *Person) Create(ctx context.Context, plan string) (string, error) {
	name := "t" + secrets.RandomHex(6)
	_, err := p.Must(ctx, http.MethodPost, "/api/clients", map[string]any{"name": name, "email": p.Email, "plan": plan})
	return name, err
}

// Checkout opens a payment and returns the gateway's page.
func (p *Person) Checkout(ctx context.Context, name, plan string) (reference, page string, err error) {
	got, err := p.Must(ctx, http.MethodPost, "/api/payments/initialize", map[string]any{"plan": plan, "billing_cycle": "monthly", "client_name": name})
	if err != nil {
		return "", "", err
	}
	reference, _ = got["reference"].(string)
	page, _ = got["authorization_url"].(string)
	return reference, page, nil
}

// Pay does what a click on the test card does; the gateway tells the platform by webhook.
func Pay(ctx context.Context, page string) error {
	form := url.Values{"action": {"card"}, "card": {"4084084084084081"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, page, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultTransport.RoundTrip(req) // no redirect is followed
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusSeeOther {
		return fmt.Errorf("the gateway answered with status %d", resp.StatusCode)
	}
	return nil
}

// Buy creates and pays.
func (p *Person) Buy(ctx context.Context, plan string) (string, error) {
	name, err := p.Create(ctx, plan)
	if err != nil {
		return "", err
	}
	_, page, err := p.Checkout(ctx, name, plan)
	if err != nil {
		return "", err
	}
	return name, Pay(ctx, page)
}

// randomAddress is one of the addresses reserved for documentation.
func randomAddress() string {
	return "2001:db8:" + secrets.RandomHex(2) + ":" + secrets.RandomHex(2) + "::1"
}

// Visit asks the edge for a tenant's page and returns the status and the text.
func (r *Rig) Visit(ctx context.Context, name, path string) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.Edge+path, nil)
	if err != nil {
		return 0, "", err
	}
	req.Host = name + ".localhost"
	req.Header.Set("X-Forwarded-For", randomAddress()) // the edge limits addresses
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// LogIn logs in to a tenant's Odoo by its own route, through the edge.
func (r *Rig) LogIn(ctx context.Context, name, login, password string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	text, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "method": "call", "params": map[string]any{
		"db": "odoo_" + strings.ReplaceAll(name, "-", "_"), "login": login, "password": password,
	}})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Edge+"/web/session/authenticate", bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Host = name + ".localhost"
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Forwarded-For", randomAddress())
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	var got struct {
		Result struct{ UID int }
		Error  any
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		return fmt.Errorf("log in at %s: status %d: %w", name, resp.StatusCode, err)
	}
	if got.Result.UID == 0 {
		return fmt.Errorf("log in at %s: %v", name, got.Error)
	}
	return nil
}
