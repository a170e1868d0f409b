// Package migrations embeds the platform database's schema, one SQL file per change, applied in order by goose. Files that have
// landed are never edited.
package migrations

import "embed"

// FS holds the SQL files.
//
//go:embed *.sql
var FS embed.FS
