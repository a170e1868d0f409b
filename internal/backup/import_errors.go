package backup

import "controlplane/internal/errs"

// What an import may find wrong with what it was given, or with the moment; all are safe to show.
var (
	ErrImportSQL     = errs.New(errs.Invalid, "import_sql", "The database server refuses a statement of dump.sql.")
	ErrImportLong    = errs.New(errs.Invalid, "import_too_long", "The database server has worked at dump.sql for far longer than so much data should take, so it was given up; our staff have been told.")
	ErrImportVersion = errs.New(errs.Invalid, "import_version", "The backup is of another version of Odoo than the client has.")
	ErrImportNotOdoo = errs.New(errs.Invalid, "import_not_odoo", "What dump.sql holds isn't the database of an Odoo.")
	ErrImportLacks   = errs.New(errs.Invalid, "import_files_missing", "Files that the database speaks of are missing in the zip.")
	ErrImportCut     = errs.New(errs.Malformed, "import_cut_short", "The upload ended before all of it was here.")
	ErrImportSlow    = errs.New(errs.Malformed, "import_too_slow", "The upload stood still, or came too slowly, so it was given up.")
	ErrImportEmpty   = errs.New(errs.Invalid, "import_empty", "There is nothing in the request's body; the zip is expected there.")
	ErrImportRoom    = errs.New(errs.Unavailable, "import_no_space", "There isn't enough space on our server for this upload just now; our staff have to look at it.")
	ErrImportRunning = errs.New(errs.Conflict, "import_running", "You are uploading something already; one upload at a time.")
	ErrImportsBusy   = errs.New(errs.RateLimited, "imports_busy", "Others are uploading just now; try again in some minutes.")
)
