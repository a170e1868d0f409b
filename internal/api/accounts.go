package api

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/secrets"
)

// Request types hold only what a caller may set, so that a role or an id in a body takes no effect.
type (
	registerRequest struct {
		Email    string         `json:"email" validate:"required,max=254"`
		Username string         `json:"username" validate:"required,max=200"`
		Password secrets.Secret `json:"password" validate:"required,max=1000"`
		FullName *string        `json:"full_name" validate:"omitempty,max=1000"`
	}
	loginRequest struct {
		Username string         `json:"username" validate:"required,max=320"`
		Password secrets.Secret `json:"password" validate:"required,max=1000"`
	}
	refreshRequest struct {
		RefreshToken secrets.Secret `json:"refresh_token" validate:"required,max=4096"`
	}
	updateMeRequest struct {
		Email    *string `json:"email" validate:"omitempty,max=254"`
		Username *string `json:"username" validate:"omitempty,max=200"`
		FullName *string `json:"full_name" validate:"omitempty,max=1000"`
	}
	passwordRequest struct {
		Current secrets.Secret `json:"current_password" validate:"required,max=1000"`
		New     secrets.Secret `json:"new_password" validate:"required,max=1000"`
	}
)

type userAnswer struct {
	ID          accounts.ID `json:"id"`
	Email       string      `json:"email"`
	Username    string      `json:"username"`
	FullName    *string     `json:"full_name"`
	IsActive    bool        `json:"is_active"`
	IsSuperuser bool        `json:"is_superuser"`
	CreatedAt   wireTime    `json:"created_at"`
}

func newUserAnswer(a accounts.Account) userAnswer {
	return userAnswer{
		ID: a.ID, Email: a.Email, Username: a.Username, FullName: orNull(a.FullName),
		IsActive: a.Active, IsSuperuser: a.Admin, CreatedAt: wireTime(a.CreatedAt),
	}
}

// tokenAnswer holds plain strings: it is where the tokens leave for their owner.
type tokenAnswer struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"`
}

func newTokenAnswer(t accounts.Tokens) tokenAnswer {
	return tokenAnswer{
		AccessToken: t.Access.Reveal(), RefreshToken: t.Refresh.Reveal(), TokenType: "bearer", ExpiresIn: int(t.ExpiresIn.Seconds()),
	}
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (s *server) authRoutes(r chi.Router) {
	r.Post("/api/auth/register", s.public(s.register))
	r.Post("/api/auth/login", s.public(s.login))
	r.Post("/api/auth/refresh", s.public(s.refresh))
	r.Post("/api/auth/logout", s.user(s.logout))
	r.Get("/api/auth/me", s.user(s.me))
	r.Patch("/api/auth/me", s.user(s.updateMe))
	r.Post("/api/auth/password", s.user(s.changePassword))
}

func (s *server) register(w http.ResponseWriter, r *http.Request) error {
	if err := s.limitAddress(r, "register", s.opts.Rates.Register); err != nil {
		return err
	}
	var in registerRequest
	if err := s.decodeJSON(w, r, &in); err != nil {
		return err
	}
	a, err := s.deps.Accounts.Register(r.Context(), s.clientIP(r), accounts.RegisterInput{
		Email: in.Email, Username: in.Username, Password: in.Password, FullName: in.FullName,
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, newUserAnswer(a))
}

func (s *server) login(w http.ResponseWriter, r *http.Request) error {
	if err := s.limitAddress(r, "login", s.opts.Rates.Login); err != nil {
		return err
	}
	var in loginRequest
	if err := s.decodeForm(w, r, &in); err != nil {
		return err
	}
	tokens, err := s.deps.Accounts.Login(r.Context(), s.clientIP(r), in.Username, in.Password)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, newTokenAnswer(tokens))
}

// refresh takes the token from the query, as older clients send it, or from a JSON body, which keeps it out of proxies' logs.
func (s *server) refresh(w http.ResponseWriter, r *http.Request) error {
	if err := s.limitAddress(r, "refresh", s.opts.Rates.Refresh); err != nil {
		return err
	}
	q := parseQuery(r)
	in := refreshRequest{RefreshToken: secrets.Secret(q.text("refresh_token"))}
	if q.err != nil {
		return q.err
	}
	if in.RefreshToken == "" && r.ContentLength != 0 {
		if err := s.decodeJSON(w, r, &in); err != nil {
			return err
		}
	}
	if err := s.checker.check(in); err != nil {
		return err
	}
	tokens, err := s.deps.Accounts.Refresh(r.Context(), s.clientIP(r), in.RefreshToken)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, newTokenAnswer(tokens))
}

func (s *server) logout(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	if err := s.deps.Accounts.Logout(r.Context(), p, s.clientIP(r)); err != nil {
		return err
	}
	return reply(w, http.StatusOK, done{Success: true, Message: "Logged out"})
}

func (s *server) me(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	a, err := s.deps.Accounts.Me(r.Context(), p)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, newUserAnswer(a))
}

func (s *server) updateMe(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	if err := s.limitAccount(r, p, "profile", s.opts.Rates.Profile); err != nil {
		return err
	}
	var in updateMeRequest
	if err := s.decodeJSON(w, r, &in); err != nil {
		return err
	}
	a, err := s.deps.Accounts.UpdateMe(r.Context(), p, s.clientIP(r), accounts.UpdateInput{
		Email: in.Email, Username: in.Username, FullName: in.FullName,
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, newUserAnswer(a))
}

// changePassword ends all of the account's sessions, the one that asks too, and answers with the tokens of a new one.
func (s *server) changePassword(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	var in passwordRequest
	if err := s.decodeJSON(w, r, &in); err != nil {
		return err
	}
	tokens, err := s.deps.Accounts.ChangePassword(r.Context(), p, s.clientIP(r), in.Current, in.New)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, newTokenAnswer(tokens))
}
