package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"controlplane/internal/errs"
)

// maxDepth is deeper than any body that we read has reason to be.
const maxDepth = 20

var (
	errBodyTooLarge = errs.New(errs.TooLarge, "body_too_large", "The request body is too large.")
	errBodyUnread   = errs.New(errs.Malformed, "body_unreadable", "The request body couldn't be read to its end.")
	errBodyEmpty    = errs.New(errs.Invalid, "body_empty", "The request body is empty; a JSON object is expected.")
	errNotUTF8      = errs.New(errs.Malformed, "not_utf8", "The request body isn't valid UTF-8.")
	errNotJSON      = errs.New(errs.Malformed, "not_json", "The request body isn't valid JSON.")
	errNotObject    = errs.New(errs.Invalid, "not_an_object", "The request body must be a JSON object.")
	errTooDeep      = errs.New(errs.Malformed, "nested_too_deeply", "The request body is nested too deeply.")
	errDuplicate    = errs.New(errs.Malformed, "duplicate_field", "The request body names a field twice.")
	errNotJSONType  = errs.New(errs.Malformed, "unsupported_content_type", "The Content-Type must be application/json.")
)

// limited bounds a request's body. The server's own writer is told of a body that is too large, so that it closes the connection.
func limited(w http.ResponseWriter, r *http.Request, limit int64) io.ReadCloser {
	if rec, ok := w.(*recorder); ok {
		w = rec.ResponseWriter
	}
	return http.MaxBytesReader(w, r.Body, limit)
}

// readBody reads at most limit bytes; more is errBodyTooLarge.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	body, err := io.ReadAll(limited(w, r, limit))
	return body, bodyError(err)
}

func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		return errBodyTooLarge
	}
	return errBodyUnread.WithCause(err)
}

// decodeJSON fills into, a pointer to a flat struct, from the request's JSON body, and checks it. Fields are matched by their
// exact names; unknown ones are ignored.
func (s *server) decodeJSON(w http.ResponseWriter, r *http.Request, into any) error {
	if kind := mediaType(r); kind != "" && kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		return errNotJSONType
	}
	body, err := readBody(w, r, s.opts.MaxBody)
	if err != nil {
		return err
	}
	fields, err := parseObject(body)
	if err != nil {
		return err
	}
	return s.checker.bind(fields, into)
}

// decodeOptional is decodeJSON for a body that may be absent, since all of it may also be in the query, from which into was filled. Some
// proxies announce no length, so that only reading shows that there is none.
func (s *server) decodeOptional(w http.ResponseWriter, r *http.Request, into any) error {
	if r.ContentLength == 0 {
		return s.checker.check(into)
	}
	err := s.decodeJSON(w, r, into)
	if r.ContentLength < 0 && errors.Is(err, errBodyEmpty) {
		return s.checker.check(into)
	}
	return err
}

// mediaType returns the request's content type in lower case without parameters, or "" where there is none.
func mediaType(r *http.Request) string {
	header := r.Header.Get("Content-Type")
	if header == "" {
		return ""
	}
	kind, _, err := mime.ParseMediaType(header)
	if err != nil {
		return "unreadable"
	}
	return kind
}

// parseObject splits a JSON object into its fields. It is strict where encoding/json isn't: UTF-8, depth, double names.
func parseObject(body []byte) (map[string]json.RawMessage, error) {
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		return nil, errBodyEmpty
	case !utf8.Valid(body):
		return nil, errNotUTF8
	case depth(body) > maxDepth:
		return nil, errTooDeep
	case !json.Valid(body):
		return nil, errNotJSON
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, errNotObject
	}
	fields := map[string]json.RawMessage{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, errNotJSON.WithCause(err)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, errNotJSON.WithCause(err)
		}
		name, _ := key.(string)
		if _, twice := fields[name]; twice {
			return nil, errDuplicate
		}
		fields[name] = value
	}
	return fields, nil
}

// depth returns how deep the brackets of a JSON text go. It needs no valid text, so that it can run before a parser does.
func depth(body []byte) int {
	deepest, now, inString, escaped := 0, 0, false, false
	for _, c := range body {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped, inString = c == '\\', c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

// bind sets into's fields by their json tags, then checks texts and the validate tags. Everything wrong is told at once.
func (c *checker) bind(fields map[string]json.RawMessage, into any) error {
	var wrong []errs.Field
	target := reflect.ValueOf(into).Elem()
	for i := range target.NumField() {
		name := target.Type().Field(i).Tag.Get("json")
		raw, sent := fields[name]
		if !sent {
			continue
		}
		field := target.Field(i)
		if err := json.Unmarshal(raw, field.Addr().Interface()); err != nil {
			wrong = append(wrong, errs.Field{Name: name, Code: "wrong_type", Message: name + " must be " + kindText(field.Type()) + "."})
			continue
		}
		if message := badText(field); message != "" {
			wrong = append(wrong, errs.Field{Name: name, Code: "bad_characters", Message: name + " " + message})
		}
	}
	if len(wrong) > 0 {
		return invalidFields(wrong)
	}
	return c.check(into)
}

func kindText(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	default:
		return "a number"
	}
}

// badText says what keeps a text from being stored and shown, or "". Line breaks and tabs are left to the services.
func badText(field reflect.Value) string {
	if field.Kind() == reflect.Pointer && !field.IsNil() {
		field = field.Elem()
	}
	if field.Kind() != reflect.String {
		return ""
	}
	for _, r := range field.String() {
		switch {
		case r == utf8.RuneError:
			return "contains something that isn't a character."
		case unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t':
			return "may not contain control characters."
		}
	}
	return ""
}
