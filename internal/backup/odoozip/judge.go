package odoozip

import "regexp"

// verdict is what becomes of a statement.
type verdict int

const (
	ordinary  verdict = iota
	copies            // it reads rows
	needless          // it says whose something is, or makes what every database has
	forbidden         // no backup of a database holds it
)

// rule is one that a statement is judged by.
type rule struct {
	is   verdict
	when *regexp.Regexp
}

// rules are for what pg_dump and its kin write; the first that fits counts. They spare the owner of a dump an error about roles that are
// missing here. What a dump may do isn't decided by them, but by the rights of the role that runs it.
var rules = []rule{ //nolint:gochecknoglobals // constant expressions
	{copies, regexp.MustCompile(`(?is)^COPY\s.*\sFROM\s+STDIN\b`)},
	{forbidden, regexp.MustCompile(`(?is)^(COPY|(CREATE|DROP|ALTER)\s+(DATABASE|ROLE|USER|GROUP|TABLESPACE|SERVER|SUBSCRIPTION)|VACUUM|LISTEN|NOTIFY|LOAD|DISCARD)\b`)},
	{needless, regexp.MustCompile(`(?is)^(GRANT|REVOKE|ALTER\s+DEFAULT\s+PRIVILEGES|SET\s+(SESSION\s+AUTHORIZATION|ROLE)|RESET\s+SESSION)\b`)},
	{needless, regexp.MustCompile(`(?is)^ALTER\s.*\sOWNER\s+TO\s+("[^"]*"|\S+)$`)},
	{needless, regexp.MustCompile(`(?is)^(CREATE|ALTER|COMMENT\s+ON)\s+SCHEMA\s+(IF\s+NOT\s+EXISTS\s+)?"?public"?\b`)},
	{needless, regexp.MustCompile(`(?is)^(COMMENT\s+ON\s+EXTENSION\b|CREATE\s+EXTENSION\s+(IF\s+NOT\s+EXISTS\s+)?"?plpgsql"?\b)`)},
}

func judge(statement string) verdict {
	for _, r := range rules {
		if r.when.MatchString(statement) {
			return r.is
		}
	}
	return ordinary
}
