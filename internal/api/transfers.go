package api

import (
	"context"
	"io"
	"net/http"
	"path"
	"time"

	"controlplane/internal/accounts"
	"controlplane/internal/backup"
	"controlplane/internal/errs"
	"controlplane/internal/secrets"
)

// Zipper writes backups as Odoo itself does, which takes a worker's tools. What it has written before an error is of no use.
type Zipper interface {
	Zip(ctx context.Context, d backup.Download, w io.Writer) error
}

// Importer takes in what customers bring along.
type Importer interface {
	Import(ctx context.Context, r backup.Request, client string, body io.Reader, length int64) (backup.Backup, error)
}

// linkAnswer hands over a link that is as good as the backup, for a short time.
type linkAnswer struct {
	URL       string   `json:"url"`
	ExpiresAt wireTime `json:"expires_at"`
	Filename  string   `json:"filename"`
}

const (
	downloads = "/api/downloads/"
	// pieceTime is how long a transfer may stand still.
	pieceTime = time.Minute
)

var errNoZips = errs.New(errs.Unavailable, "no_worker", "Backups can't be downloaded at the moment: no worker is reachable.")

var errNotZip = errs.New(errs.Malformed, "unsupported_content_type", "The Content-Type must be application/zip or application/octet-stream.")

// transfer serves what takes as long as the caller's line is slow, until the server stops.
func (s *server) transfer(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), s.opts.TransferTime)
		defer cancel()
		stop := context.AfterFunc(ctx, func() { _ = http.NewResponseController(w).SetReadDeadline(time.Now()) }) // or a read would go on
		defer stop()
		go func() {
			select {
			case <-draining(ctx):
				cancel()
			case <-ctx.Done():
			}
		}()
		s.serve(w, r.WithContext(ctx), h)
	}
}

// linkBackup makes a link that a browser can follow, which sends no token. It is in the path, where it isn't sent on by forms and referrers,
// and is kept out of our logs.
func (s *server) linkBackup(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	b, err := s.findBackup(r, p)
	if err != nil {
		return err
	}
	q := parseQuery(r)
	neutralised := q.boolean("neutralised")
	if q.err != nil {
		return q.err
	}
	if s.deps.Zips == nil {
		return errNoZips
	}
	if err := s.limitAccount(r, p, "backup", s.opts.Rates.Backup); err != nil {
		return err
	}
	if neutralised {
		return s.linkNeutral(w, r, p, b)
	}
	link, err := s.deps.Backups.Link(r.Context(), s.backupRequest(r, p), b.ID)
	if err != nil {
		return err
	}
	return s.replyLink(w, link, zipName(b, false))
}

// linkNeutral doesn't wait for what has to be made first, which takes longer than front ends do.
func (s *server) linkNeutral(w http.ResponseWriter, r *http.Request, p accounts.Principal, b backup.Backup) error {
	link, op, err := s.deps.Backups.NeutralLink(r.Context(), s.backupRequest(r, p), b.ID)
	switch {
	case err != nil:
		return err
	case op == nil:
		return s.replyLink(w, link, zipName(b, true))
	}
	w.Header().Set("Location", s.operationURL(op.ID))
	return reply(w, http.StatusAccepted, transitionAnswer{
		Success: true, Message: "The backup is being neutralised; ask for its link again when that is done", Operation: newOperationAnswer(*op, nil, p.Admin),
	})
}

func (s *server) replyLink(w http.ResponseWriter, link backup.Link, name string) error {
	return reply(w, http.StatusOK, linkAnswer{
		URL: s.opts.PublicURL + downloads + link.Secret.Reveal(), ExpiresAt: wireTime(link.ExpiresAt), Filename: name,
	})
}

func zipName(b backup.Backup, neutralised bool) string {
	name := path.Base(b.KeyPrefix)
	if neutralised {
		name += "_neutralised"
	}
	return name + ".zip"
}

// download streams a backup. What goes wrong after the first byte breaks the connection: half a zip must not pass for one.
func (s *server) download(w http.ResponseWriter, r *http.Request) error {
	if s.deps.Backups == nil {
		return errNoBackups
	}
	if err := s.limitAddress(r, "download", s.opts.Rates.Download); err != nil {
		return err
	}
	link, _ := pathParam(r, "link")
	d, err := s.deps.Backups.Redeem(r.Context(), secrets.Secret(link), r.Method != http.MethodHead)
	if err != nil {
		return err
	}
	if s.deps.Zips == nil {
		return errNoZips
	}
	leave, err := s.transfers.enter(d.Account)
	if err != nil {
		return err
	}
	defer leave()
	out := &attachment{w: w, control: http.NewResponseController(w), name: zipName(d.Backup, d.Neutralised())}
	if r.Method == http.MethodHead {
		out.begin()
		return nil
	}
	err = s.deps.Zips.Zip(r.Context(), d, out)
	if err == nil || !out.begun {
		return err
	}
	s.logError(r, s.classify(r.Context(), err), err)
	panic(http.ErrAbortHandler)
}

// attachment is a file that is saved. Its header goes out with its first byte, so that until then errors can be told.
type attachment struct {
	w       http.ResponseWriter
	control *http.ResponseController
	name    string
	begun   bool
}

func (a *attachment) begin() {
	a.begun = true
	h := a.w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", `attachment; filename="`+a.name+`"`) // made by us, of letters, digits and a few signs
	h.Set("X-Accel-Buffering", "no")
	a.w.WriteHeader(http.StatusOK)
}

// Write sends a piece; who doesn't take it is cut off.
func (a *attachment) Write(p []byte) (int, error) {
	if !a.begun {
		a.begin()
	}
	_ = a.control.SetWriteDeadline(time.Now().Add(pieceTime)) // a writer without deadlines has none to set
	return a.w.Write(p)                                       //nolint:wrapcheck // as its interface wants it
}

// importBackup takes an Odoo's own zip as the request's body, as it is. Its answer comes when all of it was looked through.
func (s *server) importBackup(w http.ResponseWriter, r *http.Request) error {
	p, err := s.principal(r)
	if err != nil {
		return err
	}
	if rec, ok := w.(*recorder); ok {
		rec.account = p.AccountID
	}
	control := http.NewResponseController(w)
	defer func() { _ = control.SetWriteDeadline(time.Now().Add(streamWrite)) }() // the answer's, which the upload has used up
	t, err := s.client(r, p)
	if err != nil {
		return err
	}
	if s.deps.Imports == nil {
		return errNoBackups
	}
	switch mediaType(r) {
	case "", "application/zip", "application/x-zip-compressed", "application/octet-stream":
	default:
		return errNotZip
	}
	if err := s.limitAccount(r, p, "import", s.opts.Rates.Import); err != nil {
		return err
	}
	body := &upload{r: r.Body, control: control, ctx: r.Context()}
	b, err := s.deps.Imports.Import(r.Context(), s.backupRequest(r, p), t.Name, body, r.ContentLength)
	if err != nil {
		return err
	}
	w.Header().Set("Location", s.opts.PublicURL+"/api/backups/"+b.ID.String())
	answer := newBackupAnswer(b)
	return reply(w, http.StatusAccepted, backupTakenAnswer{
		Success: true, Filename: answer.Filename, Backup: answer,
		Message: "The upload is complete, and is being made the content of client " + t.Name + ". Its logins and passwords will be those of the upload. " +
			"Its scheduled jobs and mail servers will work here: stop them where it came from.",
	})
}

// upload is a body that may take its time, but not stand still.
type upload struct {
	r       io.Reader
	control *http.ResponseController
	ctx     context.Context //nolint:containedctx // a reader has no other way to be told
}

// Read waits for the next piece.
func (u *upload) Read(p []byte) (int, error) {
	_ = u.control.SetReadDeadline(time.Now().Add(pieceTime)) // as for writing
	if err := u.ctx.Err(); err != nil {
		return 0, err //nolint:wrapcheck // the caller knows
	}
	return u.r.Read(p) //nolint:wrapcheck // as its interface wants it
}
