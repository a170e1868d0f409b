package main

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// site answers for one database. Like Odoo it is healthy once it has loaded what the database says, and stays so without it.
type site struct {
	conf conf

	mu     sync.Mutex
	loaded bool
}

// serve listens on the port of requests and, with workers, on that of WebSockets, until ctx ends.
func serve(ctx context.Context, c conf) error {
	s := &site{conf: c}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /web/health", s.health)
	mux.HandleFunc("GET /web/login", s.login)
	mux.HandleFunc("GET /web", s.login)
	mux.HandleFunc("POST /web/session/authenticate", s.authenticate)
	ports := []string{c["http_port"]}
	if c["workers"] != "0" {
		ports = append(ports, c["gevent_port"])
	}
	failed := make(chan error, len(ports))
	for _, port := range ports {
		server := &http.Server{Addr: ":" + port, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
		go func() { failed <- server.ListenAndServe() }()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

func (s *site) health(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.loaded {
		if _, err := s.page(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		s.loaded = true
	}
	answer(w, map[string]string{"status": "pass"})
}

func (s *site) login(w http.ResponseWriter, r *http.Request) {
	page, err := s.page(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = fmt.Fprint(w, page)
}

// page is made of what a tenant may not lose: its database and the files that the database names.
func (s *site) page(ctx context.Context) (string, error) {
	conn, err := s.conf.connect(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var company, uuid string
	err = conn.QueryRow(ctx, "SELECT c.name, p.value FROM res_company c, ir_config_parameter p WHERE p.key = 'database.uuid'").Scan(&company, &uuid)
	if err != nil {
		return "", fmt.Errorf("load the registry: %w", err)
	}
	rows, err := conn.Query(ctx, "SELECT store_fname FROM ir_attachment")
	if err != nil {
		return "", err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", err
	}
	if len(names) < 2 {
		return "", fmt.Errorf("the database has %d attachments only", len(names))
	}
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(s.conf.filestore(), name)); err != nil {
			return "", fmt.Errorf("the filestore lacks an attachment: %w", err)
		}
	}
	return fmt.Sprintf("<html><form class=\"oe_login_form\">%s %s</form></html>", company, uuid), nil
}

// authenticate is the JSON-RPC route of Odoo's login.
func (s *site) authenticate(w http.ResponseWriter, r *http.Request) {
	var call struct {
		Params struct{ DB, Login, Password string }
	}
	if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id, err := s.check(r.Context(), call.Params.Login, call.Params.Password)
	if err != nil || call.Params.DB != s.conf["db_name"] {
		answer(w, map[string]any{"jsonrpc": "2.0", "error": map[string]any{"message": fmt.Sprint("access denied: ", err)}})
		return
	}
	answer(w, map[string]any{"jsonrpc": "2.0", "result": map[string]any{"uid": id}})
}

func (s *site) check(ctx context.Context, login, password string) (id int, err error) {
	conn, err := s.conf.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var hash string
	if err := conn.QueryRow(ctx, "SELECT id, password FROM res_users WHERE login = $1", login).Scan(&id, &hash); err != nil {
		return 0, err
	}
	return id, verify(hash, password)
}

// verify reads passlib's format: $pbkdf2-sha512$rounds$salt$sum.
func verify(hash, password string) error {
	parts := strings.Split(hash, "$")
	if len(parts) != 5 || parts[1] != "pbkdf2-sha512" {
		return errors.New("the hash is of no known kind")
	}
	rounds, err := strconv.Atoi(parts[2])
	if err != nil {
		return err
	}
	decode := func(s string) ([]byte, error) {
		return base64.RawStdEncoding.DecodeString(strings.ReplaceAll(s, ".", "+"))
	}
	salt, err := decode(parts[3])
	if err != nil {
		return err
	}
	want, err := decode(parts[4])
	if err != nil {
		return err
	}
	got, err := pbkdf2.Key(sha512.New, password, salt, rounds, len(want))
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(got, want) != 1 {
		return errors.New("the password is wrong")
	}
	return nil
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
