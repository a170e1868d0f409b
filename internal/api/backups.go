package api

import (
	"context"
	"net/http"
	"path"
	"strconv"

	"github.com/go-chi/chi/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/backup"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// backupAnswer keeps the fields of the earlier API; front ends know "pending", "completed" and "failed" as status.
type backupAnswer struct {
	ID            backup.ID    `json:"id"`
	ClientID      tenants.ID   `json:"client_id"`
	ClientName    string       `json:"client_name"`
	BackupType    backup.Kind  `json:"backup_type"`
	Filename      string       `json:"filename"`
	SizeMB        float64      `json:"size_mb"` // as it is stored
	S3Key         string       `json:"s3_key"`  // what its objects' keys begin with
	Status        string       `json:"status"`
	State         backup.State `json:"state"`
	ErrorMessage  *string      `json:"error_message"`
	CreatedAt     wireTime     `json:"created_at"`
	CompletedAt   *wireTime    `json:"completed_at"`
	Full          bool         `json:"full"` // it holds the files too, so that a client can be restored from it alone
	DatabaseBytes int64        `json:"database_bytes"`
	FilesBytes    int64        `json:"files_bytes"`
	Files         int64        `json:"files"`
	Kept          bool         `json:"kept"`
	Weekly        bool         `json:"weekly"`
	Monthly       bool         `json:"monthly"`
	RequestedBy   string       `json:"requested_by"`
	VerifiedAt    *wireTime    `json:"verified_at"`     // when all of it was read back last
	ProvenAt      *wireTime    `json:"proven_at"`       // when it was restored last, and Odoo answered on it
	ProofFailedAt *wireTime    `json:"proof_failed_at"` // when it was tried last, if that failed
	ProofError    *string      `json:"proof_error"`
	OperationID   *ops.ID      `json:"operation_id"`
}

type backupsAnswer struct {
	Backups []backupAnswer `json:"backups"`
	Total   int            `json:"total"`
}

// backupTakenAnswer keeps the three fields of the earlier API.
type backupTakenAnswer struct {
	Success  bool         `json:"success"`
	Message  string       `json:"message"`
	Filename string       `json:"filename"`
	Backup   backupAnswer `json:"backup"`
}

type keepRequest struct {
	Keep *bool `json:"keep"` // absent: true
}

type restoreRequest struct {
	SkipSafetyBackup bool   `json:"skip_safety_backup"`
	Into             string `json:"into" validate:"max=1000"` // another client, which becomes a copy
}

var errNoBackups = errs.New(errs.Unavailable, "backups_not_configured", "This platform keeps no backups: no place for them is configured.")

const oneBackup = "/api/backups/{id}"

func (s *server) backupRoutes(r chi.Router) {
	r.Post(oneClient+"/backup", s.user(s.takeBackup))
	r.Get("/api/backups", s.user(s.listBackups))
	r.Get(oneBackup, s.user(s.getBackup))
	r.Delete(oneBackup, s.user(s.deleteBackup))
	r.Post(oneBackup+"/verify", s.user(s.verifyBackup))
	r.Post(oneBackup+"/keep", s.user(s.keepBackup))
	r.Post(oneBackup+"/restore", s.user(s.restoreBackup))
	r.Get(oneBackup+"/download", s.user(s.linkBackup))
	r.Get(downloads+"{link}", s.transfer(s.download))
	r.Post(oneClient+"/import", s.transfer(s.importBackup))
}

// takeBackup doesn't wait: a backup takes its time, and front ends only say that it was started.
func (s *server) takeBackup(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	if _, err := s.client(r, p); err != nil {
		return err
	}
	if s.deps.Backups == nil {
		return errNoBackups
	}
	if err := s.limitAccount(r, p, "backup", s.opts.Rates.Backup); err != nil {
		return err
	}
	name, err := pathName(r)
	if err != nil {
		return err
	}
	kind, err := backupType(r)
	if err != nil {
		return err
	}
	b, err := s.deps.Backups.Order(r.Context(), s.backupRequest(r, p), name, kind)
	if err != nil {
		return err
	}
	w.Header().Set("Location", s.opts.PublicURL+"/api/backups/"+b.ID.String())
	answer := newBackupAnswer(b)
	return reply(w, http.StatusAccepted, backupTakenAnswer{
		Success: true, Message: "A backup of client " + name + " has been started", Filename: answer.Filename, Backup: answer,
	})
}

// backupType is "manual" unless the query says otherwise, be it that it says nothing.
func backupType(r *http.Request) (string, error) {
	q := parseQuery(r)
	if !q.values.Has("backup_type") {
		return string(backup.Manual), q.err
	}
	return q.text("backup_type"), q.err
}

func (s *server) backupRequest(r *http.Request, p accounts.Principal) backup.Request {
	return backup.Request{By: p, IP: s.clientIP(r)}
}

func (s *server) listBackups(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	if s.deps.Backups == nil {
		return errNoBackups
	}
	q := parseQuery(r)
	filter := backup.Filter{
		TenantName: q.text("client_name"), Skip: q.integer("skip", 0, 0, maxSkip), Limit: q.integer("limit", 50, 1, maxLimit),
	}
	if q.err != nil {
		return q.err
	}
	page, err := s.deps.Backups.List(r.Context(), p, filter)
	if err != nil {
		return err
	}
	out := backupsAnswer{Backups: make([]backupAnswer, 0, len(page.Backups)), Total: page.Total}
	for _, b := range page.Backups {
		out.Backups = append(out.Backups, newBackupAnswer(b))
	}
	s.paging(w, r, filter.Skip, filter.Limit, page.Total)
	return reply(w, http.StatusOK, out)
}

// findBackup returns the one that the path names, if it is the caller's.
func (s *server) findBackup(r *http.Request, p accounts.Principal) (backup.Backup, error) {
	if s.deps.Backups == nil {
		return backup.Backup{}, errNoBackups
	}
	text, _ := pathParam(r, "id")
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return backup.Backup{}, backup.ErrNotFound.WithCause(err)
	}
	return s.deps.Backups.Find(r.Context(), p, backup.ID(id))
}

func (s *server) getBackup(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	b, err := s.findBackup(r, p)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, newBackupAnswer(b))
}

func (s *server) deleteBackup(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	b, err := s.findBackup(r, p)
	if err != nil {
		return err
	}
	op, err := s.deps.Backups.Delete(r.Context(), s.backupRequest(r, p), b.ID)
	if err != nil {
		return err
	}
	return s.replyBackup(w, r, p, op, wording{"The backup has been deleted", "The backup is being deleted"})
}

func (s *server) verifyBackup(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	b, err := s.findBackup(r, p)
	if err != nil {
		return err
	}
	if err := s.limitAccount(r, p, "backup", s.opts.Rates.Backup); err != nil {
		return err
	}
	op, err := s.deps.Backups.Verify(r.Context(), s.backupRequest(r, p), b.ID)
	if err != nil {
		return err
	}
	return s.replyBackup(w, r, p, op, wording{"The backup has been read back; what came of it is on the backup", "The backup is being read back"})
}

// restoreBackup restores into the client that the backup is of, or another one. Only an administrator may do without the backup that is taken first.
func (s *server) restoreBackup(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	b, err := s.findBackup(r, p)
	if err != nil {
		return err
	}
	var in restoreRequest
	if err := s.decodeOptional(w, r, &in); err != nil {
		return err
	}
	if err := s.limitAccount(r, p, "backup", s.opts.Rates.Backup); err != nil {
		return err
	}
	op, err := s.deps.Backups.Restore(r.Context(), s.backupRequest(r, p), b.ID, backup.RestoreOrder{WithoutSafety: in.SkipSafetyBackup, Into: in.Into})
	if err != nil {
		return err
	}
	return s.replyBackup(w, r, p, op, wording{"The backup has been restored", "The backup is being restored; the client goes on until that is ready"})
}

// replyBackup waits a little for what is done with a backup, as for a client's transition.
func (s *server) replyBackup(w http.ResponseWriter, r *http.Request, p accounts.Principal, op ops.Operation, text wording) error {
	answer, status := s.settle(w, r, p, tenants.Change{Operation: &op}, text)
	return reply(w, status, answer)
}

func (s *server) keepBackup(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	b, err := s.findBackup(r, p)
	if err != nil {
		return err
	}
	var in keepRequest
	if err := s.decodeOptional(w, r, &in); err != nil {
		return err
	}
	b, err = s.deps.Backups.Keep(r.Context(), s.backupRequest(r, p), b.ID, in.Keep == nil || *in.Keep)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, newBackupAnswer(b))
}

// outlooks are what is known of clients' backups as a whole; there are none where backups aren't configured.
func (s *server) outlooks(ctx context.Context, list ...tenants.Tenant) (map[tenants.ID]backup.Outlook, error) {
	if s.deps.BackupPlans == nil || len(list) == 0 {
		return nil, nil
	}
	ids := make([]tenants.ID, 0, len(list))
	for _, t := range list {
		ids = append(ids, t.ID)
	}
	return s.deps.BackupPlans.Outlooks(ctx, ids)
}

const megabyte = 1 << 20

func newBackupAnswer(b backup.Backup) backupAnswer {
	out := backupAnswer{
		ID: b.ID, ClientID: b.TenantID, ClientName: b.TenantName, BackupType: b.Kind, Filename: path.Base(b.KeyPrefix),
		SizeMB: float64(b.StoredBytes*100/megabyte) / 100, S3Key: b.KeyPrefix, Status: backupStatus(b), State: b.State,
		ErrorMessage: orNull(b.Error), CreatedAt: wireTime(b.CreatedAt), CompletedAt: wireTimePtr(b.FinishedAt), Full: b.Kind.Full(),
		DatabaseBytes: b.DatabaseBytes, FilesBytes: b.FilestoreBytes, Files: b.FilestoreFiles, Kept: b.Kept, Weekly: b.Weekly,
		Monthly: b.Monthly, RequestedBy: b.RequestedBy, VerifiedAt: wireTimePtr(b.VerifiedAt), ProvenAt: wireTimePtr(b.ProvenAt),
		ProofFailedAt: wireTimePtr(b.ProofFailedAt), ProofError: orNull(b.ProofError),
	}
	if b.OperationID != 0 {
		out.OperationID = &b.OperationID
	}
	return out
}

// backupStatus is the state in the words of the earlier API. One that was found damaged is no backup any more.
func backupStatus(b backup.Backup) string {
	switch {
	case b.Good():
		return "completed"
	case b.State == backup.Queued, b.State == backup.Running:
		return "pending"
	}
	return "failed"
}
